"""Parameters that a loss doesn't reach, which data-parallel training must know of."""

from collections.abc import Iterable

from torch import Tensor, nn


def idle_parameters(loss: Tensor, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those of the trained parameters that get no gradient from `loss`, found in its graph."""
    reached: set[int] = set()
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # of the nodes at which a gradient ends
        if variable is not None:
            reached.add(id(variable))
        waiting += [following for following, _ in node.next_functions]
    return [parameter for parameter in parameters if parameter.requires_grad and id(parameter) not in reached]
