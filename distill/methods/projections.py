"""A divergence and the labels' loss of logits that are not made."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distill.losses import linear_terms
from distill.types import Batch, Outputs


def terms_of_projections(
    divergence: Callable[..., Tensor],
    student: Outputs,
    teacher: Outputs,
    batch: Batch,
    temperature: float,
    weights: tuple[float, float],
    label_loss: nn.Module | None,
) -> tuple[Tensor, Tensor]:
    """Both terms, unweighted scalars, in one pass over the logits: means over the positions that count.

    Args:
        divergence: of `distill.losses`.
        student, teacher: the student's with a projection; the teacher's too, or logits by position (N * T, V), or the
            likeliest of them.
        batch: its targets are (N, T) tokens.
        temperature: of the divergence.
        weights: of the divergence and of the labels' loss.
        label_loss: its `smoothing` counts; None leaves labels out, and their term is 0.
    """
    assert student.projection is not None
    targets = batch.targets.flatten()
    valid = torch.ones_like(targets, dtype=torch.bool) if batch.valid is None else batch.valid.flatten()
    return linear_terms(
        student.projection.in_a_row(),
        teacher.at(temperature) if teacher.projection is None else teacher.projection.in_a_row(),
        divergence=divergence,
        hard_labels=None if label_loss is None else targets,
        smoothing=float(getattr(label_loss, "smoothing", 0.0)),
        weights_of=weights,
        temperature=temperature,
        reduction="positionmean",
        mask=valid,
        count=batch.counted,
    )
