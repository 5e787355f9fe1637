"""TrivialAugment against torchvision's operations, one by one."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from distill.data.augment import trivial
from distill.data.augment.trivial import WIDE, trivial_augment

IMAGES = torch.randint(0, 256, (6, 3, 24, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
STRENGTHS = (-1.0, -0.5, -0.1, 0.1, 0.5, 1.0)


def affine(image: Tensor, angle: float = 0, x: int = 0, y: int = 0, shear: tuple[float, float] = (0, 0)) -> Tensor:
    degrees = [math.degrees(math.atan(value)) for value in shear]
    center = None if angle else [0.0, 0.0]
    return vision.affine(image, angle, [x, y], 1.0, degrees, InterpolationMode.NEAREST, center=center)


@pytest.mark.parametrize(
    ("name", "largest", "reference"),
    [
        ("_shear_x", 0.99, lambda image, s: affine(image, shear=(s, 0))),
        ("_shear_y", 0.99, lambda image, s: affine(image, shear=(0, s))),
        ("_translate_x", 32, lambda image, s: affine(image, x=int(s))),
        ("_translate_y", 32, lambda image, s: affine(image, y=int(s))),
        ("_rotate", 135, lambda image, s: vision.rotate(image, s)),
    ],
)
def test_moves_agree_with_torchvision(name: str, largest: float, reference: object) -> None:
    strengths = largest * torch.tensor(STRENGTHS, dtype=torch.float64)
    result = getattr(trivial, name)(IMAGES.float() / 255, strengths)
    for image, source, strength in zip(result, IMAGES, strengths.tolist(), strict=True):
        expected = min(
            (reference(source, sign * strength).float() / 255 for sign in (1, -1)),  # the sign is drawn anyway
            key=lambda candidate: (candidate - image).abs().sum(),
        )
        same = (image - expected).abs().amax(0) < 1e-5
        assert same.float().mean() > 0.97  # a place half-way between two pixels may go either way


@pytest.mark.parametrize(
    ("name", "strengths", "reference"),
    [
        ("_posterize", (0, 1, 2, 3, 5, 6), lambda image, s: vision.posterize(image, 8 - int(s))),
        ("_solarize", (0, 0.1, 0.4, 0.6, 0.9, 1), lambda image, s: vision.solarize(image, 255 * (1 - s))),
        ("_autocontrast", (0,) * 6, lambda image, s: vision.autocontrast(image)),
        ("_equalize", (0,) * 6, lambda image, s: vision.equalize(image)),
        ("_identity", (0,) * 6, lambda image, s: image),
    ],
)
def test_value_operations_agree_with_torchvision(name: str, strengths: tuple[float, ...], reference: object) -> None:
    images = IMAGES // 2 + 30  # a range to stretch
    result = getattr(trivial, name)(images.float() / 255, torch.tensor(strengths, dtype=torch.float64))
    for image, source, strength in zip(result, images, strengths, strict=True):
        assert ((image * 255) - reference(source, strength).float()).abs().max() <= 1.01


def test_autocontrast_leaves_a_flat_channel() -> None:
    flat = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(trivial._autocontrast(flat, torch.zeros(1)), flat)


def test_each_operation_is_drawn_as_often() -> None:
    count = 1400
    kinds = (torch.arange(count) + 0.5) / count
    draws = torch.stack([kinds, torch.full_like(kinds, 0.6), torch.full_like(kinds, 0.1)], 1)
    images = IMAGES[:1].expand(count, -1, -1, -1)
    distinct, counts = trivial_augment(images, draws).flatten(1).unique(dim=0, return_counts=True)
    assert len(distinct) == len(WIDE) == 14
    assert counts.tolist() == [100] * 14


def test_strengths_run_from_none_to_the_largest_with_both_signs() -> None:
    brightness = 6.5 / 14
    draws = torch.tensor([[brightness, 0.0, 0.0], [brightness, 0.99, 0.0], [brightness, 0.99, 0.9]])
    image = torch.full((1, 3, 4, 4), 102, dtype=torch.uint8).expand(3, -1, -1, -1)
    values = trivial_augment(image, draws)[:, 0, 0, 0]
    assert torch.allclose(values, 0.4 * torch.tensor([1.0, 0.01, 1.99]), atol=1e-6)
