"""A config node against the signature of what it configures."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from distill.config.checking import check_node, check_value, located, parameters_of
from distill.errors import SettingError


class Target:
    def __init__(
        self,
        network: object,
        size: int,
        rate: float = 0.1,
        kind: Literal["a", "b"] = "a",
        name: str | None = None,
        layers: Sequence[str] = (),
        anything: Any = None,
        *,
        on: bool = False,
    ) -> None: ...


def open_ended(size: int, **more: object) -> None: ...


def check(values: dict[str, Any], target: Any = Target) -> None:
    check_node(OmegaConf.create(values), "part", target, given=["network"])


@pytest.mark.parametrize(
    "values",
    [
        {"size": 3},
        {"size": 3, "rate": 1, "kind": "b", "name": None, "layers": ["x"], "on": True, "anything": [1, {}]},
        {"size": 3, "layers": []},
        {"_target_": "a.b", "_partial_": True},  # the rest comes later
        {"size": 3, "rate": {"_target_": "builds.what.is.wanted"}},
    ],
)
def test_what_fits_passes(values: dict[str, Any]) -> None:
    check(values)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"sise": 3}, "part.sise is not a setting; did you mean part.size?"),
        ({"size": 3, "zz": 1},
         "part.zz is not a setting; known: part.anything, part.kind, part.layers, part.name, part.on, part.rate, "
         "part.size"),
        ({}, "part.size is not set: give part.size=VALUE"),
        ({"size": "???"}, "part.size is not set: give part.size=VALUE"),
        ({"size": 3.5}, "part.size=3.5: must be a whole number"),
        ({"size": "three"}, "part.size='three': must be a whole number"),
        ({"size": None}, "part.size=None: must be a whole number"),
        ({"size": 3, "rate": "fast"}, "part.rate='fast': must be a number"),
        ({"size": 3, "kind": "c"}, "part.kind='c': must be one of a, b"),
        ({"size": 3, "name": 7}, "part.name=7: must be text or null; quotes make it one: 'part.name=\"7\"'"),
        ({"size": 3, "layers": [1]}, "part.layers=[1]: must be a list of texts"),
        ({"size": 3, "on": "yes, please"}, "part.on='yes, please': must be true or false"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        check(values)
    assert str(caught.value) == line


def test_other_peoples_open_signatures_take_any_name() -> None:
    check({"size": 3, "whatever": 4}, open_ended)
    with pytest.raises(SettingError, match=r"part\.size='x'"):
        check({"size": "x", "whatever": 4}, open_ended)


def test_a_signature_that_python_cannot_tell_has_no_parameters() -> None:
    assert parameters_of(iter) == {}
    assert list(parameters_of(open_ended)) == ["size", "more"]


def test_whole_numbers_are_numbers_but_truth_is_none() -> None:
    check_value("rate", 1, float)
    with pytest.raises(SettingError, match="size=True: must be a whole number"):
        check_value("size", True, int)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("temperature=0: must be above 0"), "method.kd.temperature=0: must be above 0"),
        (TypeError("no such thing"), "method.kd: no such thing"),
        (KeyError("gone"), "method.kd: KeyError: 'gone'"),
        (SettingError("method.kd.weight=-1: must be zero or more"), "method.kd.weight=-1: must be zero or more"),
        (ValueError("a b=3: is no setting"), "method.kd: a b=3: is no setting"),
    ],
)
def test_errors_are_given_their_place(error: Exception, line: str) -> None:
    assert located("method.kd", error) == line


def test_an_error_at_the_top_has_no_place() -> None:
    assert located("", ValueError("seed=-1: no")) == "seed=-1: no"
    assert located("", ValueError("no")) == "configuration: no"
