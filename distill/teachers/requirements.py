"""Checks that a cache keeps what a method needs."""

from typing import Literal

from distill.errors import SettingError
from distill.methods import Composite, Method
from distill.teachers.record import Layout

Features = bool | Literal["pooled"]


def check_method(method: Method, layout: Layout, features: Features) -> None:
    """Compare what each member of a method needs with what is kept.

    Raises:
        SettingError: the first need that is not met.
    """
    for member in method.members if isinstance(method, Composite) else [method]:
        name = type(member).__name__
        if member.taps.teacher and not features:
            raise SettingError(
                f"teaching.features=false: {name} needs layers of the teacher ({', '.join(member.taps.teacher)}); "
                "keep them with teaching.features=true, or use teaching=live"
            )
        if member.taps.teacher and features == "pooled" and not member.accepts_pooled:
            raise SettingError(
                f"teaching.features=pooled: {name} takes layers of the teacher ({', '.join(member.taps.teacher)}) as "
                "they are, not averaged over positions; keep them so with teaching.features=true, or use teaching=live"
            )
        if layout.top_k is not None:
            _check_top_k(member, name, layout)


def _check_top_k(method: Method, name: str, layout: Layout) -> None:
    kept, instead = f"teaching.top_k={layout.top_k}", "leave teaching.top_k=null"
    if not method.accepts_top_k:
        raise SettingError(f"{kept}: {name} needs all logits; {instead}")
    if method.standardize_logits:
        raise SettingError(f"{kept}: {name} standardises logits, which takes all of them; {instead}")
    if "temperature" in method.schedules:
        raise SettingError(
            f"{kept}: the temperature of {name} moves, and what is left out is known at a few; {instead}"
        )
    temperature = float(getattr(method, "temperature", 1.0))
    if temperature not in layout.temperatures:
        known = ", ".join(f"{t:g}" for t in layout.temperatures)
        raise SettingError(
            f"teaching.temperatures=[{known}]: the temperature of {name} is {temperature:g}, where the mass of the "
            "classes that are not kept is not known; add it"
        )
