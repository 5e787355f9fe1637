"""Scenes of a few digits on a noisy ground, of which it is known where each digit lies: its mask and its box."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 64  # of a scene, in pixels
CELL = 32  # each digit lies in a quarter of its own, so that none covers another
SMALLEST, LARGEST = 20, 31  # sides of a digit in pixels
INK = 0.35  # of the brightest: pixels of a digit from here on are the digit's


@dataclass(frozen=True, slots=True)
class Scenes:
    """Images and what is in them.

    images: (N, 1, 64, 64) uint8.
    digits: (N, 4) int64, the digit in each quarter; -1 where there is none.
    masks: (N, 64, 64) uint8: 0 is the ground, d + 1 the digit d.
    boxes: (N, 4, 4) float32: left, top, right and bottom edge of the pixels of each digit; 0 where there is none.
    """

    images: Tensor
    digits: Tensor
    masks: Tensor
    boxes: Tensor


def compose(glyphs: Tensor, labels: Tensor, count: int, seed: int) -> Scenes:
    """Scenes of one to four digits, each in a quarter of its own: what comes out depends on the arguments alone.

    Args:
        glyphs: (M, 8, 8) float in [0, 1], the digits to choose from.
        labels: (M,) int64, what they are.
        count: how many scenes.
        seed: of everything random.
    """
    generator = torch.Generator().manual_seed(seed)
    images = _ground(count, generator)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    there = _present(count, generator)
    chosen = torch.randint(len(labels), (count, 4), generator=generator)
    sides = torch.randint(SMALLEST, LARGEST + 1, (count, 4), generator=generator)
    shifts, brightness = torch.rand(count, 4, 2, generator=generator), torch.rand(count, 4, generator=generator)
    boxes = torch.zeros(count, 4, 4)
    for scene, quarter in there.nonzero().tolist():
        side, glyph = int(sides[scene, quarter]), int(chosen[scene, quarter])
        shown = F.interpolate(glyphs[glyph][None, None], (side, side), mode="bilinear")[0, 0]
        top, left = (
            CELL * cell + int(shift * (CELL - side + 1))
            for cell, shift in zip(divmod(quarter, 2), shifts[scene, quarter].tolist(), strict=True)
        )
        place = slice(top, top + side), slice(left, left + side)
        images[scene][place] = images[scene][place].lerp(0.7 + 0.3 * brightness[scene, quarter], shown)
        ink = shown >= INK * shown.max()
        masks[scene][place][ink] = labels[glyph].to(torch.uint8) + 1
        rows, columns = ink.any(1).nonzero().flatten(), ink.any(0).nonzero().flatten()
        edges = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        boxes[scene, quarter] = torch.stack(edges).float()
    pixels = (255 * images.clamp(0, 1)).round().to(torch.uint8)[:, None]
    return Scenes(pixels, labels[chosen].where(there, -1), masks, boxes)


def _ground(count: int, generator: torch.Generator) -> Tensor:
    """(N, 64, 64) dark clouds under noise, in [0, 1]."""
    clouds = F.interpolate(torch.rand(count, 1, 5, 5, generator=generator), (SIDE, SIDE), mode="bicubic")[:, 0]
    return 0.3 * clouds + 0.05 * torch.randn(count, SIDE, SIDE, generator=generator)


def _present(count: int, generator: torch.Generator) -> Tensor:
    """(N, 4) bool: in which quarters there is a digit; in one at least."""
    there = torch.rand(count, 4, generator=generator) < 0.6
    there[torch.arange(count), torch.randint(4, (count,), generator=generator)] = True
    return there
