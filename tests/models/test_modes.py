"""Which parts of a network are in training mode, and that a look at it leaves them as they were."""

from pathlib import Path

import pytest
import torch
from torch import nn

from distill.config.trial_pass import show_samples
from distill.data.arrays import arrays
from distill.models.modes import evaluating, start_training
from distill.models.network import Network


def with_a_frozen_norm() -> Network:
    """In training mode but for its first norm, which stays in evaluation mode."""
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    layers = nn.Conv2d(1, 4, 3), norms[0], nn.Conv2d(4, 4, 3), norms[1], nn.Flatten(), nn.Linear(64, 4)
    network = Network(nn.Sequential(*layers))
    norms[0].requires_grad_(False).eval()
    return network


def modes(network: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in network.named_modules()}


def test_each_part_has_its_own_mode_again_also_when_the_look_fails() -> None:
    network = with_a_frozen_norm()
    before = modes(network)
    assert set(before.values()) == {True, False}
    with evaluating(network):
        assert not any(modes(network).values())
    assert modes(network) == before
    with pytest.raises(RuntimeError), evaluating(network):
        network(torch.rand(2, 3, 8, 8))
    assert modes(network) == before


def test_images_are_shown_to_a_network_that_stays_as_it_was(images: Path) -> None:
    network, source = with_a_frozen_norm(), arrays(str(images))
    before, state = modes(network), {name: value.clone() for name, value in network.state_dict().items()}
    assert show_samples(network, "student", source).logits.shape[1] == source.num_classes
    assert modes(network) == before
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_training_starts_with_frozen_parts_in_evaluation_mode() -> None:
    network = with_a_frozen_norm().eval()
    start_training(network)
    assert {name for name, training in modes(network).items() if not training} == {"backbone.1"}
