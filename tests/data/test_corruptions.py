"""Common corruptions: what they do to an image, the same for the same image."""

import pytest
import torch
from torch import Tensor

from distill.data.corruptions import CORRUPTIONS, corrupt

INDICES = torch.tensor([3, 8, 11])


@pytest.fixture(params=[(3, 32, 48), (1, 8, 8)], ids=["colour", "tiny and grey"])
def images(request: pytest.FixtureRequest) -> Tensor:
    """Smooth, not noise: a slope from dark to light, differently steep."""
    channels, height, width = request.param
    slope = torch.linspace(0.2, 0.6, height)[:, None] * torch.linspace(0.5, 1.0, width)
    return torch.stack([slope.expand(channels, -1, -1) * scale for scale in (0.6, 0.8, 1.0)])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_image_suffers_the_same_in_any_batch_and_more_with_severity(kind: str, images: Tensor) -> None:
    changed = {severity: corrupt(kind, images, INDICES, severity) for severity in (1, 3, 5)}
    for severity, found in changed.items():
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 1
        torch.testing.assert_close(255 * found, (255 * found).round())
        alone = corrupt(kind, images[1:2], INDICES[1:2], severity)
        assert torch.equal(alone, found[1:2])
    harm = [float((found - images).square().mean()) for found in changed.values()]
    assert 0 < harm[0] < harm[2]


def test_noise_is_normal_of_the_stated_deviation_and_differs_between_images() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    noise = corrupt("gaussian_noise", grey, torch.tensor([0, 1]), 1) - grey
    assert float(noise.mean()) == pytest.approx(0, abs=2e-3)
    assert float(noise.std()) == pytest.approx(0.08, rel=0.03)
    assert float((noise.abs() > 0.16).float().mean()) == pytest.approx(0.0455, abs=0.006)
    assert abs(float(torch.corrcoef(noise.flatten(1))[0, 1])) < 0.03


def test_brightness_and_contrast_by_hand() -> None:
    image = torch.tensor([0.0, 102 / 255]).view(1, 1, 1, 2)
    index = torch.zeros(1, dtype=torch.long)
    assert (255 * corrupt("brightness", image, index, 2)).round().flatten().tolist() == [51, 153]
    assert (255 * corrupt("contrast", image, index, 1)).round().flatten().tolist() == [31, 71]
