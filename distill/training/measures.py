"""Metrics of a batch beside the loss: scalars on the device, means over the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses import kl_divergence
from distill.types import Outputs


def measure(logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
    """Accuracy; with a teacher also agreement with it, and its entropy in nats.

    Args:
        logits: (N, C) of the network that is deployed.
        answers: the teacher's; None without one.
        targets: (N,) int64 classes, or (N, C) float probabilities.
    """
    with torch.no_grad():
        chosen = logits.argmax(1)
        classes = targets.argmax(1) if targets.is_floating_point() else targets
        values = {"accuracy": (chosen == classes).float().mean()}
        if answers is not None and comparable(logits, answers):
            values["agreement"] = (chosen == answers.likeliest()).float().mean()
            if answers.top_k is None:
                values["teacher_entropy"] = torch.special.entr(answers.logits.float().softmax(1)).sum(1).mean()
    return values


def comparable(logits: Tensor, answers: Outputs) -> bool:
    """Whether a teacher's logits are for the same classes; a teacher used for its features alone may have others."""
    return answers.top_k is not None or answers.logits.shape[1] == logits.shape[1]


def measure_unseen(logits: Tensor, answers: Outputs | None, targets: Tensor) -> dict[str, Tensor]:
    """For validation and tests: accuracy and cross-entropy; with a teacher agreement and KL(teacher || student)."""
    values = measure(logits, answers, targets)
    values.pop("teacher_entropy", None)
    values["ce"] = F.cross_entropy(logits.float(), targets)
    if answers is not None and comparable(logits, answers):
        values["kl"] = kl_divergence(logits, answers.logits)
    return values
