"""Seeds are pure functions of what they name."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.seeding import derive_seed, seed_torch

parts = st.lists(st.text("abc0", max_size=3) | st.integers(0, 9), max_size=3)


@given(st.integers(0, 100), parts, st.integers(0, 100), parts)
def test_different_names_give_different_seeds(seed: int, names: list[str | int], other: int, names2: list[str | int]):
    first, second = derive_seed(seed, *names), derive_seed(other, *names2)
    assert 0 <= first < 2**32
    same = (seed, *map(str, names)) == (other, *map(str, names2))
    assert (first == second) == same


def test_seeds_never_change() -> None:
    # Python's own hash differs from process to process; this must not, nor from version to version.
    assert derive_seed(3, "student", "weights") == 996747896


def test_torch_draws_by_the_name() -> None:
    def draw(*names: str | int) -> torch.Tensor:
        seed_torch(0, *names)
        return torch.rand(4)

    torch.manual_seed(123)
    first = draw("epoch", 1, 0)
    torch.manual_seed(456)
    assert torch.equal(first, draw("epoch", 1, 0))
    assert not torch.equal(first, draw("epoch", 2, 0))
    assert not torch.equal(first, draw("epoch", 1, 1))
