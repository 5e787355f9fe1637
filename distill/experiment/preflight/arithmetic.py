"""`trainer.precision=auto` and `trainer.channels_last=auto`: tried on the networks of a run, before it starts.

What a device computes natively is not always faster in it (depthwise convolutions seldom are), nor always right: some
CPUs' bfloat16 convolutions of very narrow maps read memory that nobody wrote. So a training step of each stage is taken
in either precision; what is not finite or far off is not used, and what is slower by a clear margin neither. Short runs
are not worth the measurement.
"""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from distill.config import build
from distill.data.order import Draw
from distill.errors import first_line
from distill.experiment.preflight.timed_step import Seconds, TimedStep, Way
from distill.experiment.run import Run
from distill.methods import Method, Supervised
from distill.models import cost
from distill.models.network import Network
from distill.seeding import seed_torch
from distill.training.launch import processes_to_start
from distill.training.precision import choose_precision

log = logging.getLogger(__name__)

SHORT = 10**12  # floating-point operations in all stages: seconds of work, which no choice makes much shorter
AFFORDABLE = 4 * 10**9  # of one step that is measured; larger batches are cut
PIXELS = 2**18  # of the images in it, for networks that do little with each: five images of 224 x 224
CLEAR = 1.25  # times as long as the other way: less could come out otherwise in the next run of the same command
BOX = 0.3  # seconds for each way that is measured, where it is not clear sooner
ROUNDS = 2  # even where they take longer
FAR = 10.0  # times float32's size, or less than 1/FAR: rounding turns deep networks' gradients, and keeps their size


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
    settings = run.config.trainer.own
    plain = build.hardware(run.config.trainer, "32-true")
    device = plain.device
    automatic = settings.precision == "auto"
    usual, reason = choose_precision(device) if automatic else (run.config.precision, "")
    way = Way(usual, settings.channels_last is not False)
    exact = Way("32-true", way.channels_last)
    said = {"precision": [reason] if automatic else [], "channels_last": []}
    others = automatic and way != exact
    layouts = settings.channels_last == "auto" and any(network.convolves for network in networks.values())
    alone = plain.world_size == 1 or processes_to_start(plain) > 0
    with _felt_by_nobody(device):
        stages = _stages(run, networks, device, exact) if others or layouts else {}
        if others and (trouble := _trouble(stages, way)):
            said["precision"].append(f"but {trouble}")
            way = exact
        steps = [stage.step for stage in stages.values()]
        if sum(step.flops * step.images for step in steps) >= SHORT and alone:
            if others and way != exact:
                way = _faster(steps, way, exact, said["precision"])
            if layouts:
                way = _faster(steps, way, Way(way.precision, not way.channels_last), said["channels_last"])
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


@dataclass(frozen=True, slots=True)
class Tried:
    """A stage to come: its step, and the sizes that this finds in float32."""

    step: TimedStep
    expected: dict[str, float]


def _stages(run: Run, networks: Mapping[str, Network], device: torch.device, exact: Way) -> dict[str, Tried]:
    """The stages to come, on copies of the networks; the baseline's work is a part of the student's. None where one
    fails in float32: why, the rehearsal says."""
    try:
        return {name: Tried(step, step.sizes(exact)) for name, step in _steps(run, networks, device)}
    except Exception as error:
        log.info(f"the arithmetic is not tried on the networks: {first_line(error)}")
        return {}


def _steps(run: Run, networks: Mapping[str, Network], device: torch.device) -> Iterator[tuple[str, TimedStep]]:
    for name in ("teacher", *run.assistants):
        if name != "teacher" or not networks[name].trained:
            yield name, _step(run, name, copy.deepcopy(networks[name]), None, Supervised(), device)
    seed_torch(run.config.run.seed, "method", "weights")
    method = build.method(run.config.method)
    asked = copy.deepcopy(networks[["teacher", *run.assistants][-1]]) if method.needs_teacher else None
    yield "student", _step(run, "student", copy.deepcopy(networks["student"]), asked, method, device)


def _step(
    run: Run, name: str, network: Network, asked: Network | None, method: Method, device: torch.device
) -> TimedStep:
    stage = run.stage(name)
    loader = stage.data().train_dataloader()
    epoch, indices = next(iter(loader.order))
    image = loader.__getitems__(Draw(epoch, indices[:1])).inputs
    flops = 3 * cost.flops(network, image) + (0 if asked is None else cost.flops(asked, image))
    pixels = image[0, 0].numel() if isinstance(image, torch.Tensor) else 1
    count = min(AFFORDABLE // max(1, flops), PIXELS // pixels)
    batch = loader.__getitems__(Draw(epoch, indices[: max(2, count)]))
    module = stage.module(
        network, None if asked is None else run.teacher(asked), method, optimize_for_inference=False
    ).to(device)
    return TimedStep(module, batch.to(device), stage.max_epochs * len(stage.samples), flops)


def _trouble(stages: Mapping[str, Tried], way: Way) -> str | None:
    """What is wrong with a stage's answers or step that float32 can do, in words."""
    for name, stage in stages.items():
        where = f"{way.precision} in a step of the {name}"
        if not all(map(math.isfinite, stage.expected.values())):
            continue
        _leave_traces()
        try:
            found = stage.step.sizes(way)
        except Exception as error:
            return f"it fails with {where}: {first_line(error)}"
        for what, size in found.items():
            right = stage.expected[what]
            if not math.isfinite(size):
                return f"the {what} is not finite with {where}"
            if not right / FAR <= size <= right * FAR:
                return f"the {what} is of size {size:.2g}, not {right:.2g}, with {where}"
    return None


def _leave_traces() -> None:
    """Fill memory that is free for use with NaN, so that a kernel that reads what nobody wrote shows it."""
    junk = [torch.full((1 << power,), math.nan) for power in range(4, 20)]
    del junk


def _faster(steps: Sequence[TimedStep], usual: Way, other: Way, said: list[str]) -> Way:
    """The usual way, unless the other is faster by a clear margin. Measured until that is clear, or long enough."""
    ways = (usual, other)
    for step in steps:
        for way in ways:
            if way not in step.spent:
                step.take(way)
    rounds, measured = 0, 0.0
    while not _clear(steps, usual, other) and (rounds < ROUNDS or measured < len(ways) * BOX):
        for way in ways:  # in turns, so that what slows the machine for a while slows both
            for step in steps:
                step.take(way)
        rounds, measured = rounds + 1, measured + sum(step.spent[way].most for step in steps for way in ways)
    each = [_seconds_an_image(steps, way).most for way in ways]
    names = [way.precision if usual.precision != other.precision else way.layout for way in ways]
    said.append(f"training takes {1000 * each[0]:.3g} ms an image in {names[0]} and {1000 * each[1]:.3g} in {names[1]}")
    return other if each[0] > CLEAR * each[1] else usual


def _clear(steps: Sequence[TimedStep], usual: Way, other: Way) -> bool:
    """Whether what is still unknown of the times makes no difference."""
    before, after = _seconds_an_image(steps, usual), _seconds_an_image(steps, other)
    return before.least > CLEAR * after.most or before.most <= CLEAR * after.least


def _seconds_an_image(steps: Sequence[TimedStep], way: Way) -> Seconds:
    """Of training, the mean over all stages."""
    images = sum(step.images for step in steps)
    shares = [step.images / len(step.batch) / images for step in steps]
    times = [step.spent[way] for step in steps]
    least, most = (
        sum(share * seconds for share, seconds in zip(shares, column, strict=True))
        for column in ([each.least for each in times], [each.most for each in times])
    )
    return Seconds(least, most)
