"""Parameters that no term of the loss reaches, in distributed data-parallel training (DDP).

SimKD, for instance, leaves the student's classifier alone. DDP waits for the gradient of each parameter on all
processes, so that one without a gradient ends the run. Why not by an option of DDP itself:

- `static_graph=True` fails with accumulated gradients: Lightning's first backward pass of a step is within `no_sync()`,
  and DDP stops with "expect_autograd_hooks_ INTERNAL ASSERT FAILED".
- `find_unused_parameters=True` trains every method here, but searches the graph in each step, and writes a warning to
  the terminal, past Python's filters, in each run where nothing is unused: in most.
- Both would have to be chosen before the trainer knows the method, also in a user's own `Trainer(strategy="ddp")`.
"""

from collections.abc import Iterable

from torch import Tensor, nn


class UnusedParameters:
    """Gives unused parameters a gradient of zeros for DDP, and takes it away again before the optimizer sees it.

    What a method leaves alone is the same in all steps, and is found in the first.
    """

    def __init__(self) -> None:
        self._found: list[nn.Parameter] | None = None

    def add_to(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
        """The loss, (), with a term of zero for each unused parameter."""
        if self._found is None:
            self._found = unused_parameters(loss, parameters)
        return loss + sum(0 * parameter.sum() for parameter in self._found) if self._found else loss

    def clear_gradients(self) -> None:
        """After the backward pass: none, as in one process. With zeros, weight decay would move the parameters."""
        for parameter in self._found or ():
            parameter.grad = None


def unused_parameters(loss: Tensor, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that require a gradient and get none from `loss`, found in its graph."""
    reached: set[int] = set()
    visited, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        variable = getattr(node, "variable", None)  # of the nodes at which a gradient ends
        if variable is not None:
            reached.add(id(variable))
        waiting += [following for following, _ in node.next_functions]
    return [parameter for parameter in parameters if parameter.requires_grad and id(parameter) not in reached]
