"""The logits in whatever a model returns."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def logits_of(output: Any) -> Tensor:
    """The tensor inside whatever a model returned: itself, `.logits`, the 'logits' or first entry, the first item.

    Raises:
        TypeError: nothing in it is a tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    if isinstance(output, Mapping) and output:
        return logits_of(output.get("logits", next(iter(output.values()))))
    if isinstance(output, tuple | list) and output:
        return logits_of(output[0])
    raise TypeError(
        f"the model returned {type(output).__name__}, in which no logits were found; "
        "return a tensor, a tuple that starts with one, a dict with 'logits', or an object with .logits"
    )
