"""A network that learns labels by a loss of its own, and answers with more than its logits."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.methods import Supervised
from distill.models.network import Network
from distill.types import Batch


@dataclass(frozen=True)
class _Doubled:
    """The raw outputs of `_Backbone`, and the sizes that it was told."""

    raw: Tensor
    shown: tuple[int, ...]
    images: tuple[int, ...]

    @property
    def classes(self) -> int:
        return 7

    def label_loss(self, targets: Tensor) -> Tensor:
        return (self.raw.float() - targets).square().mean()

    def answers(self) -> Tensor:
        return 2 * self.raw


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images.mean((2, 3))

    def read(self, output: Tensor, shown: torch.Size, images: torch.Size) -> _Doubled:
        return _Doubled(output, tuple(shown), tuple(images))


def test_a_networks_own_loss_and_answers_are_taken() -> None:
    network = Network(_Backbone(), size=4)
    images, targets = torch.rand(3, 2, 6, 8), torch.tensor([[0.0], [0.5], [1.0]])
    outputs = network(images)
    assert isinstance(outputs.reading, _Doubled)
    assert (outputs.reading.shown, outputs.reading.images) == ((4, 4), (6, 8))
    assert torch.equal(outputs.answers(), 2 * outputs.logits)
    assert outputs.classes == 7
    terms = Supervised()(outputs, None, Batch(images, targets))
    assert terms.total().item() == (outputs.logits - targets).square().mean().item()
    terms.total().backward()
    assert network.backbone.factor.grad is not None
