"""What a method needs of labels that some samples have not."""

from collections.abc import Sequence

from distill.errors import SettingError
from distill.methods import Composite, Method


def check_without_labels(method: Method, names: Sequence[str]) -> None:
    """Raise SettingError for the first member, by these names, that needs the class of every training sample."""
    members = method.members if isinstance(method, Composite) else [method]
    for member, name in zip(members, names, strict=True):
        if member.needs_classes or member.needs_labels:
            raise SettingError(
                f"{name}: needs the class of every training image, and those of data.unlabeled have none; choose a "
                "method that works without, such as kd, or leave data.unlabeled=null"
            )
