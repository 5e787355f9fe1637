"""trainer.compile=auto: uses torch.compile where a measurement shows that it is faster."""

import copy
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from distill.errors import SettingError
from distill.inputs import Inputs, first_tensor
from distill.models.network import Network
from distill.types import Outputs

log = logging.getLogger(__name__)

Choice = bool | Literal["auto"]
Compile = bool | Literal["auto", "student", "teacher"]

LONG = 1800.0  # seconds of training from which on the time to try it is small
GAIN = 1.05  # times as fast as without; less is lost in the noise
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Work:
    """What a network does at each step of a stage.

    inputs: a batch of the stage's size and on its device.
    steps: how often.
    context: of the trainer's precision.
    """

    inputs: Inputs
    steps: int
    context: Callable[[], AbstractContextManager[None]]

    @property
    def device(self) -> torch.device:
        """Where the work is done."""
        return first_tensor(self.inputs).device

    def train(self, network: Network) -> None:
        """One forward and backward pass."""
        with self.context():
            outputs: Outputs = network(self.inputs)
        made = outputs.logits if outputs.projection is None else outputs.projection.hidden
        made.float().square().mean().backward()

    @torch.no_grad()
    def ask(self, network: Network) -> None:
        """One forward pass."""
        with self.context():
            network(self.inputs)


def choice_for(role: str, setting: Compile) -> Choice:
    """What `trainer.compile` says of a role."""
    return setting == role if setting in ("student", "teacher") else setting  # type: ignore[return-value]


def compile_network(network: Network, role: str, work: Work, choice: Choice) -> bool:
    """Compile a network in place, if asked to or if that is faster by a clear margin; says whether.

    On a CPU, compiled training is 5 to 20 % faster for some networks and several times slower for others. So
    'auto' tries it on a copy, and only where training takes half an hour or more.

    Args:
        network: a student in training mode, or a teacher that answers without gradients.
        role: 'student' or 'teacher', for messages.
        work: what it will do.
        choice: what `trainer.compile` says of it.

    Raises:
        SettingError: it was asked for and torch.compile fails.
    """
    if choice is False:
        return False
    do = work.train if network.training else work.ask
    options = None if network.training else {"freezing": True}
    with torch.random.fork_rng([work.device] if work.device.type == "cuda" else []):
        try:
            if choice == "auto" and not _pays(network, role, do, options, work):
                return False
            trial = copy.deepcopy(network)
            _compile(trial, options)
            do(trial)
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if choice is True:
                raise SettingError(
                    f"trainer.compile: the {role} cannot be compiled: {reason}; use false or auto"
                ) from error
            log.info(f"the {role} is not compiled: {reason}")
            return False
    _compile(network, options)
    log.info(f"the {role} is compiled")
    return True


def release(network: Network) -> None:
    """Back to the network as it was, for what follows its training; graphs are limited, for all networks together."""
    if network.backbone._compiled_call_impl is not None:
        network.backbone._compiled_call_impl = None
        torch.compiler.reset()


def _pays(
    network: Network,
    role: str,
    do: Callable[[Network], None],
    options: dict[str, bool] | None,
    work: Work,
) -> bool:
    plain, compiled = copy.deepcopy(network), copy.deepcopy(network)
    do(plain)
    expected = _seconds(do, plain, work) * work.steps
    if expected < LONG:
        log.info(f"the {role} is not compiled: about {expected:.0f} s of work are too few to try")
        return False
    started = time.perf_counter()
    _compile(compiled, options)
    do(compiled)
    took = time.perf_counter() - started
    rounds = [(_seconds(do, plain, work), _seconds(do, compiled, work)) for _ in range(REPEATS)]
    gain = min(before for before, _ in rounds) / min(after for _, after in rounds)
    log.info(f"the {role} is {gain:.2f} times as fast if compiled, which took {took:.0f} s")
    return gain >= GAIN


def _seconds(do: Callable[[Network], None], network: Network, work: Work) -> float:
    if work.device.type == "cuda":
        torch.cuda.synchronize(work.device)
    start = time.perf_counter()
    do(network)
    if work.device.type == "cuda":
        torch.cuda.synchronize(work.device)
    return time.perf_counter() - start


def _compile(network: Network, options: dict[str, bool] | None) -> None:
    """In place: layers keep their names, and checkpoints fit."""
    backbone: nn.Module = network.backbone
    backbone.compile(options=options)
