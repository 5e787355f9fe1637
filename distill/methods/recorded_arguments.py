"""Records the arguments of a constructor."""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def records_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` that first notes its arguments, defaults included, as `self.arguments`: a dict by name.

    Where a subclass's `__init__` calls that of its base, the subclass's arguments are noted.
    """

    @functools.wraps(init)
    def noting(self: Any, *args: Any, **kwargs: Any) -> None:
        if "arguments" not in vars(self):
            try:
                bound = inspect.signature(init).bind(self, *args, **kwargs)
            except TypeError:
                pass  # `init` says what is wrong
            else:
                bound.apply_defaults()
                _, *named = bound.arguments.items()
                object.__setattr__(self, "arguments", dict(named))
        init(self, *args, **kwargs)

    return noting
