"""Masked generative distillation (Yang et al., 2205.01529).

    mgd = sum over layers of 1/N sum (G(mask * s) - t)^2,  G = conv3x3, ReLU, conv3x3

Shapes: maps (N, C, H, W); s is the student's map, through a 1x1 convolution where channels differ; the mask is drawn
anew for a sample in each epoch, by channel (N, C, 1, 1) as in the published code for classification, or by position
(N, 1, H, W) as in the paper's text and its detectors.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.devices import to_device
from distill.methods.base import Example, Method, Taps
from distill.methods.projection import matched_maps, projector, through
from distill.random import uniform
from distill.types import Batch, Outputs

Mask = Literal["channels", "positions"]


class MGD(Method):
    """The squared distance of the teacher's features from what is generated out of the student's masked ones.

    Args:
        student_layers, teacher_layers: taken in pairs; the last stage in the paper.
        masked: share left out, in [0, 1); the paper's is 0.15 for classification.
        mask: what is left out: 'channels' or 'positions'.
        weight: of the distance; the paper's 7e-5 of ImageNet classification: it has no CIFAR setting.
        label_weight: of the cross-entropy.
    """

    needs_logits = False
    seed: Tensor

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        masked: float = 0.15,
        mask: Mask = "channels",
        weight: float = 7e-5,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if not 0 <= masked < 1:
            raise ValueError(f"masked={masked}: must be at least 0 and below 1")
        if mask not in get_args(Mask):
            raise ValueError(f"mask={mask!r}: must be one of {', '.join(get_args(Mask))}")
        self.taps = Taps.of(student_layers, teacher_layers)
        self.masked = masked
        self.mask = mask

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ, and the generators."""
        layers = matched_maps(self, example.student, example.teacher)
        self.projectors = nn.ModuleList(projector(s, t) for s, t in layers)
        self.generators = nn.ModuleList(_generator(t.shape[1]) for _, t in layers)
        self.register_buffer("seed", torch.randint(2**31, ()))  # of what is drawn

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `mgd`."""
        layers = zip(self.projectors, self.generators, matched_maps(self, student, teacher), strict=True)
        losses = []
        for i, (project, generate, (s, t)) in enumerate(layers):
            s = through(project, s)
            drawn = self._drawn(s[:, :, :1, :1] if self.mask == "channels" else s[:, :1], batch, self.seed + i)
            generated = through(generate, s * (drawn >= self.masked))
            losses.append((generated - t).square().sum() / len(t))
        return {"mgd": torch.stack(losses).sum()}

    @staticmethod
    def _drawn(like: Float[Tensor, "n ..."], batch: Batch, seed: Tensor) -> Float[Tensor, "n ..."]:
        """Numbers in [0, 1) of this shape: by sample and epoch, where the loader tells which samples these are."""
        if batch.indices is None:
            return torch.rand_like(like, dtype=torch.float32)
        indices = to_device(batch.indices, like.device)
        return uniform(seed, batch.epoch, indices, like[0].numel()).view_as(like)


def _generator(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
    )
