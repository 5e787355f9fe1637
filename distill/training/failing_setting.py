"""Finds the setting whose object raised an error: a callback, an optimizer, a logger."""

import traceback
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loops.optimization.closure import AbstractClosure
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def setting_at_work(error: BaseException, clip: float | None, parts: Mapping[str, Any] | None = None) -> str | None:
    """The part of the configuration in whose work an error came up, if that is neither a network nor a method.

    Args:
        error: with its traceback.
        clip: `trainer.gradient_clip_val`.
        parts: what else may be at work, by its setting: callbacks, loggers.
    """
    named = {id(part): setting for setting, part in (parts or {}).items()}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        name, owner = frame.f_code.co_name, frame.f_locals.get("self")
        if isinstance(owner, AbstractClosure):  # forward and backward pass, which lie within the optimizer's step
            return None
        if name == "configure_gradient_clipping":
            return f"trainer.gradient_clip_val={clip}"
        if isinstance(owner, LRScheduler):
            return "scheduler"
        if isinstance(owner, Optimizer) or name == "configure_optimizers":
            return "optimizer"
        if id(owner) in named:
            return named[id(owner)]
    return None
