"""Feature methods against the values that their published implementations give."""

from pathlib import Path

import numpy as np
import pytest
import torch
from feature_arrays import outputs, run
from torch import Tensor

from distill.methods import AT, FSP, NST, Method
from distill.methods.ab import boundary_distance
from distill.methods.ft import factor_distance

GOLDEN = {
    name: torch.from_numpy(value) for name, value in np.load(Path(__file__).parents[1] / "golden/losses.npz").items()
}


def maps_of(*names: str) -> list[Tensor]:
    return [GOLDEN[f"in/{name}"] for name in names]


@pytest.mark.parametrize(
    ("key", "method", "student", "teacher"),
    [
        ("at p=2 map1+map2", AT(), ("student_map1", "student_map2"), ("teacher_map1", "teacher_map2")),
        ("at p=2 map2, teacher map larger", AT(), ("student_map2",), ("teacher_map2_large",)),
        ("nst map1+map2", NST(), ("student_map1", "student_map2"), ("teacher_map1", "teacher_map2")),
        ("fsp map1->map2", FSP(), ("student_map1", "student_map2"), ("teacher_map1", "teacher_map2")),
    ],
)
def test_golden(key: str, method: Method, student: tuple[str, ...], teacher: tuple[str, ...]) -> None:
    (value,) = run(method, outputs(*maps_of(*student)), outputs(*maps_of(*teacher))).values()
    torch.testing.assert_close(value, GOLDEN[f"out/{key}"], rtol=1e-10, atol=0)


def test_golden_factor_distance() -> None:
    student, teacher = maps_of("student_map2", "teacher_map2")
    value = factor_distance(student, teacher, p1=2, p2=1)
    torch.testing.assert_close(value, GOLDEN["out/ft p1=2 p2=1 map2"], rtol=1e-10, atol=0)


def test_golden_boundary_distance() -> None:
    """The published value includes the factor 3/1000, which is the default weight here."""
    maps = maps_of("student_map1", "teacher_map1", "student_map2", "teacher_map2")
    value = 0.003 * boundary_distance([(maps[0], maps[1]), (maps[2], maps[3])], margin=1.0)
    torch.testing.assert_close(value, GOLDEN["out/ab margin=1 map1+map2, sum of levels"], rtol=1e-10, atol=0)
