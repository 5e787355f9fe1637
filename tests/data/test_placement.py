"""What lies in an image moves with it: the placement says of each pixel which one of the original it shows."""

import pytest
import torch
from torch import Tensor

from distill.data.augment import Augment
from distill.errors import SettingError
from distill.placement import Placement

COUNT, HEIGHT, WIDTH = 6, 20, 28
EVERYTHING = Augment(zoom=[0.6, 1.8], crop=[24, 18], resized_crop=0.4, crop_padding=3, flip=True)


def ramps() -> Tensor:
    """(6, 2, 20, 28) uint8: eight times a pixel's column, and its row."""
    columns = (8 * torch.arange(WIDTH)).expand(HEIGHT, WIDTH)
    rows = (8 * torch.arange(HEIGHT))[:, None].expand(HEIGHT, WIDTH)
    return torch.stack([columns, rows]).to(torch.uint8).expand(COUNT, -1, -1, -1)


def sources(placement: Placement) -> Tensor:
    """(n, 2, height, width): column and row of the original that each pixel shows."""
    y, x = torch.meshgrid(torch.arange(placement.height), torch.arange(placement.width), indexing="ij")
    return torch.einsum("nij,jhw->nihw", placement.matrix, torch.stack([x, y, torch.ones_like(x)]).double())


@pytest.mark.parametrize(
    "augment",
    [
        Augment(flip=True),
        Augment(crop_padding=4),
        Augment(zoom=[0.5, 2.0]),
        Augment(crop=[8, 30]),
        Augment(resized_crop=0.3),
        EVERYTHING,
    ],
)
def test_pixels_come_from_where_the_placement_says(augment: Augment) -> None:
    indices = torch.arange(COUNT)
    seen = augment(ramps(), 3, 1, indices) * 255 / 8
    placement = augment.placement(HEIGHT, WIDTH, 3, 1, indices)
    assert seen.shape[2:] == (placement.height, placement.width) == augment.size(HEIGHT, WIDTH)
    expected = sources(placement)
    low, high = placement.visible[..., None, None].unbind(2)
    inner = ((expected >= low + 2) & (expected <= high - 2)).all(1, keepdim=True)
    assert inner.float().mean() > 0.2
    torch.testing.assert_close(seen.double().where(inner, 0), expected.where(inner, 0), atol=0.06, rtol=0)


def test_masks_take_the_nearest_pixel_and_are_filled_outside() -> None:
    indices, masks = torch.arange(COUNT), torch.randint(0, 9, (COUNT, HEIGHT, WIDTH)).to(torch.uint8)
    placement = EVERYTHING.placement(HEIGHT, WIDTH, 0, 0, indices)
    moved = placement.masks(masks, fill=255)
    assert moved.dtype == torch.uint8
    assert (moved == 255).any()
    for n, row, column in ((n, r, c) for n in range(COUNT) for r in range(24) for c in range(18)):
        place = placement.matrix[n] @ torch.tensor([column, row, 1.0], dtype=torch.float64)
        (x, y), (low, high) = (place + 0.5).floor().long(), placement.visible[n].unbind(1)
        inside = bool(((low <= place) & (place <= high)).all())
        assert moved[n, row, column] == (masks[n, y, x] if inside else 255)


def test_flips_and_crops_move_masks_exactly_as_images() -> None:
    augment, indices = Augment(crop_padding=4, flip=True), torch.arange(COUNT)
    masks = torch.randint(1, 200, (COUNT, HEIGHT, WIDTH)).to(torch.uint8)
    images = augment(masks[:, None], 5, 2, indices)
    moved = augment.placement(HEIGHT, WIDTH, 5, 2, indices).masks(masks, fill=0)
    assert torch.equal((images[:, 0] * 255).round().to(torch.uint8), moved)


def test_what_is_cut_off_and_padded_is_not_shown() -> None:
    """Bright images and a mask of ones: wherever the image is black, the mask has none."""
    indices, bright = torch.arange(32), torch.full((32, 1, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    for augment in (EVERYTHING, Augment(zoom=[1.5, 3.0], crop_padding=6), Augment(resized_crop=0.2, crop_padding=5)):
        images = augment(bright, 0, 0, indices)[:, 0]
        masks = augment.placement(HEIGHT, WIDTH, 0, 0, indices).masks(torch.ones_like(bright[:, 0]), fill=0)
        assert ((images > 0.5) == (masks == 1)).float().mean() > 0.995  # rounding at the very edge
        assert (images == 0).any()


def test_a_sample_moves_alike_alone_and_in_any_batch() -> None:
    whole = EVERYTHING.placement(HEIGHT, WIDTH, 1, 2, torch.arange(COUNT)).matrix
    alone = [EVERYTHING.placement(HEIGHT, WIDTH, 1, 2, torch.tensor([i])).matrix for i in range(COUNT)]
    assert torch.equal(whole, torch.cat(alone))
    images = EVERYTHING(ramps(), 1, 2, torch.arange(COUNT))
    assert torch.equal(images[2:3], EVERYTHING(ramps()[2:3], 1, 2, torch.tensor([2])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zoom": [2.0]}, "zoom="), ({"zoom": [2.0, 1.0]}, "zoom="), ({"zoom": [0.0, 1.0]}, "zoom="),
        ({"crop": [0, 5]}, "crop="), ({"crop": [5]}, "crop="),
    ],
)  # fmt: skip
def test_impossible_windows_are_refused(settings: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**settings)  # type: ignore[arg-type]


def test_what_masks_cannot_follow_is_refused() -> None:
    for name in ("mixup", "cutmix", "trivial_augment"):
        with pytest.raises(SettingError, match=f"data.augment.{name}=1: masks and boxes cannot follow it"):
            Augment(**{name: 1}).check_moves()  # type: ignore[arg-type]
    EVERYTHING.check_moves()
