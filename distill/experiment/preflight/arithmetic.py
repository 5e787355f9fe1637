"""`trainer.precision=auto` and `trainer.channels_last=auto`: tried on the networks of a run, before it starts.

What a device computes natively is not always faster in it (depthwise convolutions seldom are), nor always right: some
CPUs' bfloat16 convolutions of very narrow maps read memory that nobody wrote. So a training step of each stage is taken
in either precision; what is not finite or far off is not used, and what is slower by a clear margin neither. Short runs
are not worth the measurement.
"""

import copy
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import Tensor

from distill.config import build
from distill.data.order import Draw
from distill.errors import first_line
from distill.experiment.run import Run
from distill.losses.logits import ruled_out
from distill.methods import Method, Supervised
from distill.models import cost
from distill.models.network import Network
from distill.seeding import seed_torch
from distill.training.launch import processes_to_start
from distill.training.module import DistillModule
from distill.training.precision import choose_precision
from distill.types import Batch, Outputs

log = logging.getLogger(__name__)

SHORT = 10**12  # floating-point operations in all stages: seconds of work, which no choice makes much shorter
AFFORDABLE = 4 * 10**9  # of one step that is measured; larger batches are cut
CLEAR = 1.25  # times as long as the other way: less could come out otherwise in the next run of the same command
BOX = 0.5  # seconds for each way that is measured
ROUNDS = 2  # even where they take longer
FAR = 10.0  # times float32's size, or less than 1/FAR: rounding turns deep networks' gradients, and keeps their size


@dataclass(frozen=True, slots=True)
class Way:
    """How a step is computed: precision as Lightning names it, and whether maps lie channels last in memory."""

    precision: str
    channels_last: bool

    @property
    def layout(self) -> str:
        """In words."""
        return "channels last" if self.channels_last else "channels first"

    def context(self, device: torch.device) -> AbstractContextManager[None]:
        """Around a forward pass, as the trainer has it."""
        mixed = self.precision in ("bf16-mixed", "16-mixed")
        plugin = MixedPrecision(self.precision, device.type) if mixed else Precision()  # type: ignore[arg-type]
        return plugin.forward_context()


@dataclass(frozen=True, slots=True)
class Work:
    """A stage's training step.

    module: on networks of its own, whose weights stay.
    batch: the first images that it will see, at most as many as in a step.
    images: that the stage trains on, over all epochs.
    flops: of training on one image.
    """

    module: DistillModule
    batch: Batch
    images: int
    flops: int

    def lay_out(self, way: Way) -> None:
        """Arrange the networks' weights for a way."""
        for part in (self.module, self.module.deployed, self.module.teacher):
            for network in [] if part is None else part.modules():
                if isinstance(network, Network):
                    network.lay_out(channels_last=way.channels_last)

    def step(self, way: Way) -> tuple[Tensor, Tensor]:
        """The terms of the loss, and the gradients of what is trained in one row; the same random draws each time."""
        module, batch = self.module.train(), self.batch
        torch.manual_seed(0)
        with way.context(batch.device):
            answers = None if module.teacher is None else module.teacher(batch)
            terms: Mapping[str, Tensor] = module.method(module.student(batch.inputs), answers, batch)
            loss = torch.stack([term.float() for term in terms.values()])
        loss.sum().backward()
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        gradients = [parameter.grad.flatten().float() for parameter in trained if parameter.grad is not None]
        module.zero_grad(set_to_none=True)
        return loss.detach(), torch.cat(gradients)

    def values(self, way: Way) -> dict[str, Tensor]:
        """Answers, loss and gradient, by these names. What a training step moves beside weights stays as it was."""
        state = copy.deepcopy(self.module.state_dict())
        self.lay_out(way)
        answers = self.answers(way)
        loss, gradient = self.step(way)
        self.module.load_state_dict(state)
        return {"answer": answers, "loss": loss, "gradient": gradient}

    @torch.no_grad()
    def answers(self, way: Way) -> Tensor:
        """The logits of student and teacher in evaluation mode, one after the other; 0 for -inf."""
        module = self.module.eval()
        with way.context(self.batch.device):
            outputs: list[Outputs] = [module.deployed(self.batch.inputs)]
            if module.teacher is not None:
                outputs.append(module.teacher(self.batch))
        logits = [each.logits.float().flatten() for each in outputs]
        return torch.cat([each.masked_fill(ruled_out(each), 0) for each in logits])


def settle_arithmetic(run: Run, networks: Mapping[str, Network]) -> Run:
    """Replace `auto` in trainer.precision and trainer.channels_last by what is right and fast for these networks.

    One process decides for those that it starts. Processes that were started from outside would each measure for
    itself, and take the usual.

    Args:
        run: whose configuration is to be settled.
        networks: 'teacher', assistants and 'student', as the run begins with them; only their memory format changes.

    Returns:
        The run with both settled.
    """
    trainer, settings = run.config.trainer, run.config.trainer.own
    plain = build.trainer(trainer, logger=False, precision="32-true")
    device = plain.strategy.root_device
    automatic = settings.precision == "auto"
    usual, reason = choose_precision(device) if automatic else (run.config.precision, "")
    way = Way(usual, settings.channels_last is not False)
    exact = Way("32-true", way.channels_last)
    said = {"precision": [reason] if automatic else [], "channels_last": []}
    others = automatic and way != exact
    layouts = settings.channels_last == "auto" and any(network.convolves for network in networks.values())
    alone = plain.world_size == 1 or processes_to_start(plain) > 0
    with _felt_by_nobody(device):
        stages = _stages(run, networks, device) if others or layouts else {}
        if others and (trouble := _trouble(stages, way, exact)):
            said["precision"].append(f"but {trouble}")
            way = exact
        if sum(work.flops * work.images for work in stages.values()) >= SHORT and alone:
            if others and way != exact:
                way = _faster(stages, way, exact, said["precision"])
            if layouts:
                way = _faster(stages, way, Way(way.precision, not way.channels_last), said["channels_last"])
        elif stages and others and way != exact:
            said["precision"].append(f"not measured, for {'the run is short' if alone else 'each process would alone'}")
    settled = {"precision": way.precision, "channels_last": way.channels_last}
    for network in networks.values():
        network.lay_out(channels_last=way.channels_last)
    for name, reasons in said.items():
        if reasons:
            text = f"{name} {str(settled[name]).lower()}: {'; '.join(reasons)}"
            print(text, flush=True)
            log.info(text)
    return replace(run, config=run.config.with_trainer(**settled))


@contextmanager
def _felt_by_nobody(device: torch.device) -> Iterator[None]:
    """Random generators are put back; and one thread computes, or figures would be of how threads wait for each other
    where other work keeps them from running."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)


def _stages(run: Run, networks: Mapping[str, Network], device: torch.device) -> dict[str, Work]:
    """The stages to come, on copies of the networks; the baseline's work is a part of the student's. None where one
    fails in float32: why, the rehearsal says."""
    try:
        stages = _built(run, networks, device)
        for work in stages.values():
            work.values(Way("32-true", channels_last=True))
    except Exception as error:
        log.info(f"the arithmetic is not tried on the networks: {first_line(error)}")
        return {}
    return stages


def _built(run: Run, networks: Mapping[str, Network], device: torch.device) -> dict[str, Work]:
    stages = {}
    for name in ("teacher", *run.assistants):
        if name != "teacher" or not networks[name].trained:
            stages[name] = _work(run, name, copy.deepcopy(networks[name]), None, Supervised(), device)
    seed_torch(run.config.run.seed, "method", "weights")
    method = build.method(run.config.method)
    asked = copy.deepcopy(networks[["teacher", *run.assistants][-1]]) if method.needs_teacher else None
    stages["student"] = _work(run, "student", copy.deepcopy(networks["student"]), asked, method, device)
    return stages


def _work(run: Run, name: str, network: Network, asked: Network | None, method: Method, device: torch.device) -> Work:
    stage = run.stage(name)
    loader = stage.data().train_dataloader()
    epoch, indices = next(iter(loader.order))
    image = loader.__getitems__(Draw(epoch, indices[:1])).inputs
    flops = 3 * cost.flops(network, image) + (0 if asked is None else cost.flops(asked, image))
    batch = loader.__getitems__(Draw(epoch, indices[: max(2, AFFORDABLE // max(1, flops))]))
    module = stage.module(
        network, None if asked is None else run.teacher(asked), method, optimize_for_inference=False
    ).to(device)
    return Work(module, batch.to(device), stage.max_epochs * len(stage.samples), flops)


def _trouble(stages: Mapping[str, Work], way: Way, exact: Way) -> str | None:
    """What is wrong with a stage's answers or step that float32 can do, in words."""
    for name, work in stages.items():
        where = f"{way.precision} in a step of the {name}"
        expected = work.values(exact)
        if not all(bool(each.isfinite().all()) for each in expected.values()):
            continue
        _leave_traces()
        try:
            found = work.values(way)
        except Exception as error:
            return f"it fails with {where}: {first_line(error)}"
        for what, value in found.items():
            size, right = float(value.double().norm()), float(expected[what].double().norm())
            if not math.isfinite(size):
                return f"the {what} is not finite with {where}"
            if not right / FAR <= size <= right * FAR:
                return f"the {what} is of size {size:.2g}, not {right:.2g}, with {where}"
    return None


def _leave_traces() -> None:
    """Fill memory that is free for use with NaN, so that a kernel that reads what nobody wrote shows it."""
    junk = [torch.full((1 << power,), math.nan) for power in range(4, 20)]
    del junk


def _faster(stages: Mapping[str, Work], usual: Way, other: Way, said: list[str]) -> Way:
    """The usual way, unless the other is faster by a clear margin."""
    best = {way: dict.fromkeys(stages, math.inf) for way in (usual, other)}
    end, rounds = time.perf_counter() + len(best) * BOX, 0
    while rounds < ROUNDS or time.perf_counter() < end:
        for way, seconds in best.items():  # in turns, so that what slows the machine for a while slows both
            for name, work in stages.items():
                seconds[name] = min(seconds[name], _seconds(work, way))
        rounds += 1
    images = sum(work.images for work in stages.values())
    each = {
        way: sum(seconds[name] / len(work.batch) * work.images for name, work in stages.items()) / images
        for way, seconds in best.items()
    }
    names = [way.precision if usual.precision != other.precision else way.layout for way in best]
    said.append(
        f"training takes {1000 * each[usual]:.3g} ms an image in {names[0]} and {1000 * each[other]:.3g} in {names[1]}"
    )
    return other if each[usual] > CLEAR * each[other] else usual


def _seconds(work: Work, way: Way) -> float:
    """Of a step: on a CPU, of this thread, which other work on the machine may stop but not lengthen."""
    device = work.batch.device
    work.lay_out(way)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    start = clock()
    work.step(way)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start
