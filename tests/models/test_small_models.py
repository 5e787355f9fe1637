import pytest
import torch
from torch import nn

from distill.models.cnn import Norm, cnn
from distill.models.mlp import mlp


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize(("width", "channels", "size"), [(24, 1, 8), (4, 1, 28), (5, 3, 16)])
def test_cnn_answers_for_small_images(norm: Norm, width: int, channels: int, size: int) -> None:
    network = cnn(num_classes=10, in_channels=channels, width=width, norm=norm)
    assert network(torch.randn(3, channels, size, size)).shape == (3, 10)
    assert [name for name, _ in network.named_children()] == ["stem", "layer1", "layer2", "layer3", "pool", "head"]


def test_cnn_layers_by_layer() -> None:
    w, norms = 24, 2 * (1 + 1 + 2 + 4) * 24
    convolutions = 9 * (1 * w + w * w + w * 2 * w + 2 * w * 4 * w)
    network = cnn(num_classes=10, in_channels=1, width=w)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms + (4 * w + 1) * 10


@pytest.mark.parametrize(("norm", "alone"), [("group", True), ("none", True), ("batch", False)])
def test_a_sample_is_treated_by_itself(norm: Norm, alone: bool) -> None:
    torch.manual_seed(0)
    network, x = cnn(num_classes=10, in_channels=1, norm=norm).double(), torch.randn(6, 1, 8, 8).double()
    assert torch.allclose(network(x)[:2], network(x[:2])) is alone


def test_cnn_learns_the_digits_in_a_few_epochs() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    x = ((torch.tensor(digits.images, dtype=torch.float32) / 16 - 0.3) / 0.37).unsqueeze(1)[order]
    y = torch.tensor(digits.target)[order]
    torch.manual_seed(0)
    network = cnn(num_classes=10, in_channels=1, width=24)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        for batch in torch.randperm(1297).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    assert (network(x[1297:]).argmax(1) == y[1297:]).float().mean() > 0.9


def test_mlp_counts() -> None:
    network = mlp(num_classes=10, in_channels=3, image_size=8, hidden=[16, 5])
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert sum(p.numel() for p in network.parameters()) == (192 + 1) * 16 + (16 + 1) * 5 + (5 + 1) * 10
    assert [name for name, _ in network.named_children()] == ["stem", "layer1", "layer2", "head"]


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="norm='layer': must be one of group, batch, none"):
        cnn(num_classes=10, norm="layer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width=0: must be at least 1"):
        cnn(num_classes=10, width=0)
    with pytest.raises(ValueError, match=r"hidden=\[\]: must be one or more widths"):
        mlp(num_classes=10, image_size=8, hidden=[])
    with pytest.raises(ValueError, match="image_size=0: must be at least 1"):
        mlp(num_classes=10, image_size=0, hidden=[4])
