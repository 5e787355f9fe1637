"""Checks that a network's outputs are logits, not probabilities, and that the method can take them."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from distill.errors import SettingError
from distill.losses.logits import ruled_out


def outputs_doubt(role: str, logits: Tensor, *, trained: bool) -> str | None:
    """What is wrong with a network's outputs, (N, C), for losses that take a softmax of them; None for logits.

    Logarithms of probabilities are as good as logits: their softmax gives them back. An untrained network's
    outputs may lie between 0 and 1 by chance, and are not doubted for that.
    """
    masked = ruled_out(logits)
    logits = logits.masked_fill(masked, 0)
    if logits.shape[1] < 2 or bool((logits < 0).any()):
        return None
    if bool(((logits.sum(1) - 1).abs() < 0.01).all()):
        kind = "rows are not negative and sum to 1, so these are probabilities already (softmax)"
    elif trained and bool((masked | ((logits > 0) & (logits < 1))).all()):
        kind = "values lie between 0 and 1, so these are probabilities already (sigmoid)"
    else:
        return None
    return (
        f"{role}'s outputs: {kind}, and a second softmax leaves little of the differences between classes: let the "
        "network give what it has before its last softmax or sigmoid, or its logarithm"
    )


def check_ruled_out(logits: Tensor, pulls: Mapping[str, float], methods: Iterable[str]) -> None:
    """Refuse a method that cannot take a teacher's -inf for classes that it rules out.

    Args:
        logits: the teacher's for a few samples, (N, C).
        pulls: by term of the loss, the norm of its gradient.
        methods: their names.

    Raises:
        SettingError: there are such classes, and a gradient is not finite.
    """
    wild = [term for term, pull in pulls.items() if not math.isfinite(pull)]
    if wild and bool(ruled_out(logits).any()):
        at_fault = [f"method.{name}" for name in methods if name in wild] or ["method"]
        raise SettingError(
            f"{' and '.join(at_fault)}: the teacher answers -inf for some classes, and {', '.join(wild)} is not finite "
            "then: set standardize_logits=false, or use a method that takes it, such as method=[kd] or method=[dkd]"
        )
