"""The shapes that annotations give: those of the divergences, which check their arguments themselves."""

from collections.abc import Callable
from functools import partial
from types import FunctionType

import pytest
import torch
from checked_shapes import checked
from jaxtyping import TypeCheckError, jaxtyped
from torch import Tensor

from distill.losses import SparseTeacher, divergence
from distill.losses.logits import as_rows, split_classes

DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    name: jaxtyped(function, typechecker=checked)
    for name, function in vars(divergence).items()
    if isinstance(function, FunctionType) and function.__module__ == divergence.__name__ and not name.startswith("_")
}
DIVERGENCES["alpha_beta_divergence"] = partial(DIVERGENCES["alpha_beta_divergence"], alpha=0.5, beta=0.5)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_takes_and_gives_what_it_says(name: str) -> None:
    function = DIVERGENCES[name]
    for shape, dim in (((4, 5), 1), ((4, 5, 2, 3), 1), ((4, 3, 5), -1)):
        student, teacher = torch.randn(2, *shape)
        assert function(student, teacher, class_dim=dim).shape == ()
        assert function(student, teacher, class_dim=dim, reduction="none").shape == shape
        sparse = SparseTeacher.from_logits(teacher, 2, class_dim=dim)
        assert function(student, sparse, class_dim=dim).shape == ()
    with pytest.raises(TypeCheckError):
        function(torch.randn(4, 5), torch.randn(4, 6))


def test_there_are_as_many_as_are_public() -> None:
    assert len(DIVERGENCES) == 9


def test_shapes_are_checked_wherever_tests_call() -> None:
    assert as_rows(torch.randn(2, 5, 3)).shape == (6, 5)
    for call in (
        lambda: as_rows(torch.arange(4)),
        lambda: split_classes(torch.randn(4, 5), torch.zeros(3, dtype=torch.long)),
    ):
        with pytest.raises(TypeCheckError):
            call()
