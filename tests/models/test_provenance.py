"""Trained weights are told from random ones by building a network twice."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from distill.models.cnn import cnn
from distill.models.provenance import Provenance, provenance

TRAINED = cnn(num_classes=5, in_channels=1, width=4).state_dict()
TABLE = torch.arange(64.0).reshape(8, 8)


def random_weights() -> nn.Module:
    return cnn(num_classes=5, in_channels=1, width=4)


def pretrained() -> nn.Module:
    network = random_weights()
    network.load_state_dict(TRAINED)
    return network


def with_a_new_head() -> nn.Module:
    network = pretrained()
    network.get_submodule("head").reset_parameters()
    return network


def drawing_nothing() -> nn.Module:
    with torch.device("meta"):
        network = random_weights()
    network.load_state_dict(dict(TRAINED), assign=True)
    return network


def seeding_itself() -> nn.Module:
    torch.manual_seed(7)
    return random_weights()


def of_numpy() -> nn.Module:
    network = nn.Linear(4, 4)
    network.weight.data = torch.from_numpy(np.random.standard_normal((4, 4)) + random.random())
    return network


def with_a_table() -> nn.Module:
    network = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    network.register_buffer("positions", TABLE.clone())
    return network


def of_constants() -> nn.Module:
    network = nn.Linear(2, 2)
    nn.init.ones_(network.weight)
    return network


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (random_weights, Provenance(False)),
        (pretrained, Provenance(True)),
        (drawing_nothing, Provenance(True)),
        (with_a_new_head, Provenance(True, ("head",))),
        (seeding_itself, Provenance(False)),
        (of_numpy, Provenance(False)),
        (with_a_table, Provenance(False)),
        (of_constants, Provenance(False)),
        (lambda: nn.LazyLinear(3), Provenance(False)),
        (nn.Identity, Provenance(False)),
    ],
)
def test_where_weights_are_from(build: Callable[[], nn.Module], expected: Provenance) -> None:
    torch.manual_seed(0)
    assert provenance(build(), build) == expected


def test_random_numbers_go_on_as_if_it_had_been_built_once() -> None:
    first = random_weights()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    provenance(first, of_numpy)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[2]


def test_words() -> None:
    assert Provenance(False).in_words() == ""
    assert "the same each time" in Provenance(True).in_words()
    assert "but for fc: " in Provenance(True, ("fc",)).in_words()
