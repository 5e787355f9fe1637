"""Which setting would make training faster, told from where its time goes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from distill.config import build
from distill.config.options import option
from distill.data.augment import Augment
from distill.data.module import MOST_WORKERS, cores
from distill.data.split import Split
from distill.errors import SettingError
from distill.experiment.run import Run
from distill.models.network import Network
from distill.teachers import Teacher
from distill.training.precision import choose_precision
from distill.training.profiling import Profile

# A part that takes a larger share of a step than this is worth a setting.
TEACHER, DATA, LOGGING, ARITHMETIC = 0.4, 0.2, 0.05, 0.5
FILLING = 0.1  # reading kept answers takes less
STUDENT = ("student", "method", "backward")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is set already, and what could be.

    cached: the teacher's answers are kept, and were asked for where they weren't there yet.
    cacheable: the teacher is asked live, and a cache could answer the method instead.
    augmentations: the settings of data.augment that change images.
    repeats: images look the same again after some epochs (teaching.epochs).
    streams: images are decoded from files as they are needed.
    workers, cores: processes that decode them, and cores for these; of each training process.
    keepable: data.in_memory could be set to keep them decoded.
    logs: single steps are logged, every so many; 0 for never.
    precision, native: what is computed in, and the narrowest that the device computes natively.
    """

    cached: bool
    cacheable: bool
    augmentations: tuple[str, ...]
    repeats: bool
    streams: bool
    workers: int
    cores: int
    keepable: bool
    logs: int
    precision: str
    native: str


def advice(shares: Mapping[str, float], now: Circumstances) -> list[str]:
    """One or two sentences; the largest gain first.

    Args:
        shares: of a step, by `profiling.PARTS`.
        now: nothing is advised that is set already.
    """
    student = sum(shares[part] for part in STUDENT)
    found = [
        (shares["teacher"], _on_teacher(shares["teacher"], now)),
        (shares["data"], _on_data(shares["data"], now)),
        (student, _on_arithmetic(student, now)),
        (shares["logging"], _on_logging(shares["logging"], now)),
    ]
    useful = [sentence for _, sentence in sorted(found, reverse=True) if sentence]
    return useful[:2] or [_nothing(shares)]


def _on_teacher(share: float, now: Circumstances) -> str:
    if now.cached and share > FILLING:
        return f"The teacher takes {share:.0%} of a step while its answers are first kept: later runs are spared that."
    if share <= TEACHER or not now.cacheable:
        return ""
    if not now.augmentations:
        gain = "asks it once for each image instead of in every epoch"
    elif now.repeats:
        gain = "asks it only until the images repeat (teaching.epochs)"
    else:
        gain = "spares later runs on the same images that, and this one from epoch E on with teaching.epochs=E too"
    return f"The teacher takes {share:.0%} of a step: teaching=cached {gain}."


def _on_data(share: float, now: Circumstances) -> str:
    if share <= DATA:
        return ""
    ways = []
    if now.streams and now.workers < now.cores:
        ways.append(f"data.workers={now.cores} decodes with every core")
    if now.streams and now.keepable:
        ways.append("data.in_memory=true decodes only once, if memory has room")
    if not ways and now.augmentations:
        ways.append(f"do with less of {', '.join(f'data.augment.{name}' for name in now.augmentations)}")
    return f"Training waits for its images for {share:.0%} of a step: {', or '.join(ways)}." if ways else ""


def _on_arithmetic(share: float, now: Circumstances) -> str:
    if share <= ARITHMETIC or not now.precision.startswith("32") or now.native.startswith("32"):
        return ""
    return (
        f"The student's own arithmetic takes {share:.0%} of a step in float32: trainer.precision={now.native}, which "
        "this device computes natively, may be faster."
    )


def _on_logging(share: float, now: Circumstances) -> str:
    if share <= LOGGING or not now.logs:
        return ""
    return f"Logging takes {share:.0%} of a step: trainer.log_every_n_steps={10 * now.logs} logs a tenth as often."


def _nothing(shares: Mapping[str, float]) -> str:
    own = sum(shares[part] for part in (*STUDENT, "optimizer"))
    others = {"The teacher": shares["teacher"], "Making the images": shares["data"], "Logging": shares["logging"]}
    largest, share = max({"The student's own arithmetic": own, **others}.items(), key=lambda item: item[1])
    return f"{largest} is what takes the time ({share:.0%} of a step); there is nothing to gain by a setting."


def advise(run: Run, teacher: Network, profile: Profile) -> list[str]:
    """One or two sentences for a run.

    Args:
        run: settings and data.
        teacher: the network that answers.
        profile: of the run.
    """
    config, augment = run.config, run.config.augment
    hardware = run.hardware
    here = cores() // hardware.devices
    workers = config.data.own.workers
    return advice(
        profile.shares,
        Circumstances(
            cached=build.kind_of(config.teaching.target, "teaching", Teacher).keeps_answers,
            cacheable=_cacheable(run, teacher),
            augmentations=tuple(f.name for f in fields(Augment) if getattr(augment, f.name) != f.default),
            repeats=config.teaching.own.epochs is not None,
            streams=not isinstance(run.source.train, Split),
            workers=min(MOST_WORKERS, here) if workers is None else workers,
            cores=here,
            keepable=config.data.target.get("in_memory", True) is not True,
            logs=(config.trainer.own.log_every_n_steps or 0) if config.logger else 0,
            precision=config.precision,
            native=choose_precision(hardware.device)[0],
        ),
    )


def _cacheable(run: Run, teacher: Network) -> bool:
    """Whether `teaching=cached` would do, as it is, in the place of a live teacher."""
    if not build.kind_of(run.config.teaching.target, "teaching", Teacher).cacheable or run.config.on_policy.fraction:
        return False
    cached = option("teaching", "cached", "teaching")
    cached.epochs = run.config.teaching.own.epochs
    try:
        other = replace(run, config=run.config.replaced(teaching=cached))
        other.teacher(teacher).check(build.method(run.config.method))
    except SettingError:
        return False
    return True
