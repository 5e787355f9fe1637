"""Checks that a method can take what a teacher's outputs are."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from distill.errors import SettingError
from distill.losses.logits import ruled_out


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
