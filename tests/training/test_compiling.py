"""torch.compile in place: the same answers and names, tried only where it can pay, given up where it fails."""

import copy
from contextlib import nullcontext
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from distill.errors import SettingError
from distill.models.network import Network
from distill.signals import Stopped
from distill.training import compiling
from distill.training.compiling import Compile, Work, choice_for, compile_network, release

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WORK = Work(IMAGES, 10, nullcontext)


def network() -> Network:
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3)))


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_compiled_answers_and_names_are_the_same(role: str) -> None:
    plain = network() if role == "student" else network().eval().requires_grad_(False)
    compiled = copy.deepcopy(plain)
    assert compile_network(compiled, role, WORK, True)
    with torch.set_grad_enabled(role == "student"):
        torch.testing.assert_close(compiled(IMAGES).logits, plain(IMAGES).logits)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert compiled.backbone._compiled_call_impl is not None
    release(compiled)
    assert compiled.backbone._compiled_call_impl is None
    assert all(torch.equal(a, b) for a, b in zip(compiled.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize(
    ("setting", "student", "teacher"),
    [
        (True, True, True),
        (False, False, False),
        ("auto", "auto", "auto"),
        ("student", True, False),
        ("teacher", False, True),
    ],
)
def test_each_role_has_its_own_choice(setting: Compile, student: object, teacher: object) -> None:
    assert (choice_for("student", setting), choice_for("teacher", setting)) == (student, teacher)


def test_short_work_is_not_worth_a_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_compile", lambda *_: pytest.fail("was compiled"))
    assert not compile_network(network(), "student", WORK, "auto")
    assert not compile_network(network(), "student", WORK, False)


@pytest.mark.parametrize(("gain", "kept"), [(1.5, True), (1.0, False)])
def test_long_work_is_measured(monkeypatch: pytest.MonkeyPatch, gain: float, kept: bool) -> None:
    """Clocks and the compiler stand in for hours of work: the decision is what is tested."""
    compiled: list[Network] = []
    monkeypatch.setattr(compiling, "_compile", lambda chosen, _: compiled.append(chosen))
    monkeypatch.setattr(compiling, "_seconds", lambda _, chosen, __: 1 / gain if chosen in compiled else 1.0)
    student = network()
    before = copy.deepcopy(student.state_dict())
    state = torch.random.get_rng_state()
    assert compile_network(student, "student", Work(IMAGES, 10_000, nullcontext), "auto") == kept
    assert (student in compiled) == kept
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise ValueError("no two ways about it")


def test_what_fails_is_said_where_it_was_asked_for_and_left_where_not() -> None:
    said = r"trainer\.compile: the student cannot be compiled: no two ways .*; use false or auto$"
    with pytest.raises(SettingError, match=said):
        compile_network(Network(Broken()), "student", WORK, True)
    assert not compile_network(Network(Broken()), "student", WORK, "auto")


@pytest.mark.parametrize("choice", [True, "auto"])
def test_a_signal_while_it_compiles_is_no_failure_of_it(
    monkeypatch: pytest.MonkeyPatch, choice: Literal[True, "auto"]
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(compiling, "_compile", stop)
    monkeypatch.setattr(compiling, "_pays", lambda *_: True)
    with pytest.raises(Stopped):
        compile_network(network(), "student", WORK, choice)
