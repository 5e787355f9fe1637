"""Train a small student network to imitate a large teacher, and see whether it helped.

The public names are imported when they are first used, so that `import distill` and the commands' `--help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill import losses, methods
    from distill.models.network import Network
    from distill.teachers import LiveTeacher, Teacher
    from distill.training.module import DistillModule
    from distill.types import Batch, Outputs

__all__ = ["Batch", "DistillModule", "LiveTeacher", "Network", "Outputs", "Teacher", "losses", "methods"]

_HOMES = {
    "Batch": "distill.types",
    "DistillModule": "distill.training.module",
    "LiveTeacher": "distill.teachers",
    "Network": "distill.models.network",
    "Outputs": "distill.types",
    "Teacher": "distill.teachers",
    "build": "distill.config",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = import_module(_HOMES[name])
        return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")
    if name in __all__:
        return import_module(f"distill.{name}")
    raise AttributeError(f"module 'distill' has no attribute {name!r}")
