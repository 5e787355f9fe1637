"""Augmentation: each operation against its definition, and all as functions of a sample alone."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from distill.data.augment import Augment, color, geometry

EVERY_SETTING: list[dict[str, Any]] = [
    {},
    {"crop_padding": 4},
    {"flip": True},
    {"resized_crop": 0.08},
    {"zoom": [0.5, 2.0]},
    {"crop": [7, 10], "zoom": [0.9, 1.2]},
    {"color_jitter": 0.4},
    {"trivial_augment": True},
    {"cutout": 5},
    {"crop_padding": 2, "flip": True, "color_jitter": 0.3, "trivial_augment": True, "cutout": 3, "resized_crop": 0.5},
]


def pictures(count: int, channels: int = 3, height: int = 12, width: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("setting", EVERY_SETTING, ids=str)
@settings(max_examples=8, deadline=None)
@given(
    count=st.integers(2, 40),
    channels=st.sampled_from([1, 3, 4]),
    size=st.sampled_from([(8, 8), (12, 9), (17, 32)]),
    epoch=st.integers(0, 50),
)
def test_a_sample_looks_the_same_alone_in_a_batch_and_in_any_order(
    setting: dict[str, Any], count: int, channels: int, size: tuple[int, int], epoch: int
) -> None:
    augment = Augment(**setting)
    images, indices = pictures(count, channels, *size, seed=epoch), torch.arange(count) * 11
    result = augment(images, 5, epoch, indices)
    assert result.dtype == torch.float32
    assert result.shape == (*images.shape[:2], *augment.size(*size))
    assert 0 <= result.min() <= result.max() <= 1
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
    assert torch.equal(augment(images[order], 5, epoch, indices[order]), result[order])
    for row in range(0, count, 7):
        alone = augment(images[row : row + 1], 5, epoch, indices[row : row + 1])
        assert torch.equal(alone[0], result[row])


@pytest.mark.parametrize("setting", EVERY_SETTING[1:], ids=str)
def test_epochs_seeds_and_samples_differ(setting: dict[str, Any]) -> None:
    augment = Augment(**setting)
    images = pictures(1).expand(64, -1, -1, -1)
    one = augment(images, 0, 0, torch.arange(64))
    assert len(one.flatten(1).unique(dim=0)) > 1
    assert not torch.equal(one, augment(images, 0, 1, torch.arange(64)))
    assert not torch.equal(one, augment(images, 1, 0, torch.arange(64)))
    assert torch.equal(one, augment(images, 0, 0, torch.arange(64)))


def test_the_number_of_threads_changes_nothing() -> None:
    augment = Augment(**EVERY_SETTING[-1])
    images, indices, threads = pictures(32, height=40, width=40), torch.arange(32), torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(augment(images, 0, 0, indices))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_nothing_is_done_by_default() -> None:
    images = pictures(4)
    assert torch.equal(Augment()(images, 0, 0, torch.arange(4)), images.float() / 255)


def test_switching_an_operation_on_leaves_the_others_as_they_were() -> None:
    images, indices = pictures(16), torch.arange(16)
    flipped = Augment(flip=True)(images, 0, 0, indices)
    both = Augment(flip=True, cutout=3)(images, 0, 0, indices)
    uncovered = both == flipped
    assert uncovered.float().mean() > 0.9


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    images = pictures(200, height=7, width=5)
    draws = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, [2] * 4)
    corners = set()
    for image, whole, (down, right) in zip(
        geometry.crop(images, 2, draws), padded, (draws * 5).long().tolist(), strict=True
    ):
        assert torch.equal(image, whole[:, down : down + 7, right : right + 5])
        corners.add((down, right))
    assert len(corners) == 25


def test_a_flip_mirrors_half_of_the_images() -> None:
    images = pictures(4)
    mirrored = geometry.flip(images, torch.tensor([[0.0], [0.49], [0.5], [0.99]]))
    assert torch.equal(mirrored[:2], images[:2].flip(3))
    assert torch.equal(mirrored[2:], images[2:])


def test_cutout_covers_a_square_with_the_mean() -> None:
    images = pictures(2, height=10, width=10).float() / 255
    inside, corner = geometry.cutout(images, 4, torch.tensor([[0.5, 0.5], [0.0, 0.0]]))
    assert torch.allclose(inside[:, 3:7, 3:7], images[0].mean((1, 2))[:, None, None].expand(3, 4, 4))
    assert (inside != images[0]).any(0).sum() == 16
    assert (corner != images[1]).any(0).sum() == 4  # two by two are left within the image


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=4, max_size=4),
    st.floats(0.01, 1),
    st.sampled_from([0.5, 1.0, 1.78]),
)
def test_a_window_lies_within_the_image(draws: list[float], smallest: float, aspect: float) -> None:
    top, left, tall, wide = geometry.crop_window(torch.tensor([draws]), smallest, aspect)[0].tolist()
    assert top >= 0
    assert left >= 0
    assert 0 < tall <= 1
    assert 0 < wide <= 1
    assert top + tall <= 1 + 1e-9
    assert left + wide <= 1 + 1e-9
    assert tall * wide <= 1 + 1e-9
    if tall < 1 and wide < 1:
        assert tall * wide >= smallest * (1 - 1e-9)
        assert 0.75 - 1e-6 <= wide * aspect / tall <= 4 / 3 + 1e-6


def test_a_resized_crop_is_the_window_scaled_up() -> None:
    images = pictures(8, height=24, width=24)
    smooth = vision.gaussian_blur(images, [5, 5])
    draws = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    result = geometry.resized_crop(smooth, 0.3, draws)
    for image, window, picture in zip(result, geometry.crop_window(draws, 0.3, 1.0), smooth, strict=True):
        top, left, tall, wide = (window * 24).tolist()
        y = torch.arange(24) * tall / 24 + top + (tall / 24 - 1) / 2
        x = torch.arange(24) * wide / 24 + left + (wide / 24 - 1) / 2
        expected = bilinear(picture.double() / 255, y, x)
        assert torch.allclose(image.double(), expected, atol=1e-4)


def bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(C, H, W) at the product of places y and x, by the textbook."""
    top, left = y.clamp(0, image.shape[1] - 1), x.clamp(0, image.shape[2] - 1)
    t, u = top.floor().long(), left.floor().long()
    b, r = (t + 1).clamp(max=image.shape[1] - 1), (u + 1).clamp(max=image.shape[2] - 1)
    v, w = (top - t)[:, None], (left - u)[None]
    upper = image[:, t][:, :, u] * (1 - w) + image[:, t][:, :, r] * w
    lower = image[:, b][:, :, u] * (1 - w) + image[:, b][:, :, r] * w
    return upper * (1 - v) + lower * v


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_operations_agree_with_torchvision(name: str, channels: int) -> None:
    images = pictures(6, channels).float() / 255
    factors = torch.tensor([0.0, 0.3, 0.99, 1.0, 1.5, 1.99])
    result = getattr(color, name)(images, factors[:, None, None, None])
    reference = getattr(vision, f"adjust_{name}")
    for image, factor, source in zip(result, factors.tolist(), images, strict=True):
        assert torch.allclose(image, reference(source, factor), atol=2e-3)


def test_jitter_stays_within_its_strength() -> None:
    white = torch.full((1000, 3, 2, 2), 0.5)
    draws = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    result = color.jitter(white, 0.4, draws)[:, 0, 0, 0]
    assert torch.allclose(result, 0.5 * (0.6 + 0.8 * draws[:, 0]), atol=1e-5)  # grey: only brightness shows
    assert result.max() > 0.69


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=200))
def test_the_exact_mean_is_the_mean(values: list[float]) -> None:
    expected = torch.tensor(values, dtype=torch.float64).mean()
    mean = color.exact_mean(torch.tensor(values)[None], (1,))
    assert abs(mean.double() - expected) < 1e-6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crop_padding": -1}, "crop_padding=-1: must be zero or more pixels"),
        ({"cutout": -2}, "cutout=-2: must be zero or more pixels"),
        ({"color_jitter": 1.5}, r"color_jitter=1.5: must be from 0 \(none\) to 1"),
        ({"resized_crop": 2.0}, "resized_crop=2.0: must be a share"),
        ({"mixup": -0.1}, "mixup=-0.1: must be zero"),
        ({"cutmix": float("nan")}, "cutmix=nan: must be zero"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Augment(**setting)


def test_every_setting_has_been_tried() -> None:
    tried = set().union(*EVERY_SETTING) | {"mixup", "cutmix"}  # these two in test_mixing.py
    assert tried == {field.name for field in fields(Augment)}
