"""The terms of a loss that a method returns, weighted and unweighted."""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class LossTerms(dict[str, Tensor]):
    """The weighted terms by name, each a scalar (); their sum is the loss.

    Attributes:
        unweighted: the same terms without their weights, a scalar () each.
        weights: the factor of each term in the loss.
    """

    def __init__(
        self, weighted: Mapping[str, Tensor], unweighted: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> None:
        super().__init__(weighted)
        self.unweighted = dict(unweighted)
        self.weights = dict(weights)

    @classmethod
    def weigh(cls, unweighted: Mapping[str, Tensor], weight_of: Callable[[str], float]) -> "LossTerms":
        """Each term times its weight, which `weight_of` gives by the term's name."""
        weights = {name: weight_of(name) for name in unweighted}
        return cls({name: weights[name] * term for name, term in unweighted.items()}, unweighted, weights)

    @classmethod
    def of(cls, terms: Mapping[str, Tensor]) -> "LossTerms":
        """What a method returned: as it is, or a plain dict with weight 1 for each term."""
        return terms if isinstance(terms, cls) else cls.weigh(terms, lambda name: 1.0)

    @classmethod
    def combined(cls, parts: Iterable[Mapping[str, Tensor]]) -> "LossTerms":
        """The terms of several methods.

        Of terms with the same name (the labels' `ce`) the weighted ones and the weights add up, and the unweighted one
        is the mean by weight, which is the term itself where all methods compute the same.
        """
        found: dict[str, list[LossTerms]] = {}
        for part in map(cls.of, parts):
            for name in part:
                found.setdefault(name, []).append(part)
        weights = {name: sum(part.weights[name] for part in same) for name, same in found.items()}
        weighted, unweighted = {}, {}
        for name, (first, *others) in found.items():
            weighted[name], unweighted[name] = first[name], first.unweighted[name].detach()
            if others:
                same, weight = [first, *others], weights[name]
                shares = [part.weights[name] / weight if weight > 0 else 1 / len(same) for part in same]
                weighted[name] = sum_of(part[name] for part in same)
                unweighted[name] = sum_of(
                    share * part.unweighted[name].detach() for share, part in zip(shares, same, strict=True)
                )
        return cls(weighted, unweighted, weights)

    def total(self) -> Float[Tensor, ""]:
        """The loss, a scalar ()."""
        return sum_of(self.values())


def sum_of(terms: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The sum of scalars, a scalar ()."""
    return torch.stack(list(terms)).sum()
