"""The jobs of a sweep: one that fails does not stop the others, and is reported at the end."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from distill.experiment import study
from distill.files import write_text

T = TypeVar("T")

OUTCOME = "job.json"
LOGS = "tensorboard"  # in each job's directory, and of all jobs in the sweep's
LONGEST = 120  # letters of a job's name there


class JobError(Exception):
    """A job of a sweep failed, and has said why. For sweepers that handle failed trials in their own way."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job, as its directory keeps it: its processes may be on other machines.

    number: of the job. overrides: its settings. status: as an exit status. error: one line, or None.
    """

    number: int
    overrides: list[str]
    status: int
    error: str | None


class Jobs(Callback):
    """Hydra's callback around a sweep."""

    directory: Path | None = None  # of the sweep that this process started

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget what an earlier sweep left in the directory; what its study knows is kept."""
        study.goes_on(config)
        Jobs.directory = Path(config.hydra.sweep.dir)
        for file in Jobs.directory.rglob(OUTCOME):
            file.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the jobs' logs by what differs."""
        name_logs(Path(config.hydra.sweep.dir))


def outcomes(directory: Path) -> list[tuple[Path, Outcome]]:
    """The jobs of a sweep that have ended, with their directories, by their numbers."""
    files = ((file.parent, Outcome(**json.loads(file.read_text()))) for file in directory.rglob(OUTCOME))
    return sorted(files, key=lambda found: found[1].number)


def own_overrides(jobs: Sequence[Outcome]) -> list[str]:
    """Of each job, what it does not share with all others: 'seed=1 method.kd.temperature=2'."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(each for each in job.overrides if each not in shared) for job in jobs]


def name_logs(directory: Path) -> None:
    """Fill SWEEP/tensorboard with links to the jobs' logs that are named by what differs, for one TensorBoard."""
    jobs = [(place, job) for place, job in outcomes(directory) if (place / LOGS).is_dir()]
    for (place, job), name in zip(jobs, own_overrides([job for _, job in jobs]), strict=True):
        link = directory / LOGS / (re.sub(r"[^\w=.,+\[\] -]", "_", name)[:LONGEST] or str(job.number))
        link.parent.mkdir(exist_ok=True)
        if link.is_symlink():
            link.unlink()
        with suppress(OSError):  # where there are no links, the jobs' own directories have to do
            link.symlink_to(os.path.relpath(place / LOGS, link.parent), target_is_directory=True)
    if jobs:
        print(f"TensorBoard  tensorboard --logdir {directory / LOGS}")


def in_a_sweep() -> bool:
    """Whether this is a job of one."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_directory() -> Path | None:
    """Where all jobs of this one's sweep have their directories; None outside a sweep."""
    return Path(HydraConfig.get().sweep.dir) if in_a_sweep() else None


def job(work: Callable[[], T], mistake: Callable[[Exception], str | None]) -> T | None:
    """A job of a sweep. What goes wrong is printed in one line, and kept for the end.

    Args:
        work: the job.
        mistake: what a user's mistake says in one line; None for an exception that is none.

    Returns:
        What `work` does; None where it failed under Hydra's own sweeper, which looks at no result.

    Raises:
        JobError: under any other sweeper, for that has its own way with failed trials.
    """
    hydra = HydraConfig.get()
    error, result, status = None, None, 0
    try:
        result = work()
    except Exception as exception:
        error = mistake(exception)
        status = 2 if error else 1
        if error is None:
            traceback.print_exc()
            error = f"{type(exception).__name__}: {exception}".splitlines()[0]
        print(f"error: job {hydra.job.num}: {error}", file=sys.stderr)
    outcome = Outcome(int(hydra.job.num), list(hydra.overrides.task), status, error)
    write_text(Path(hydra.runtime.output_dir) / OUTCOME, json.dumps(asdict(outcome)))
    if error and not hydra.sweeper._target_.endswith(".BasicSweeper"):
        raise JobError(error)
    return result


def account(directory: Path) -> tuple[str, int] | None:
    """Which jobs of a sweep failed, in one line, and the exit status; None where none did."""
    jobs = [job for _, job in outcomes(directory)]
    failed = [(job, own) for job, own in zip(jobs, own_overrides(jobs), strict=True) if job.status]
    if not failed:
        return None
    each = (f"{job.number} ({own}): {job.error}" for job, own in failed)
    status = 2 if all(job.status == 2 for job, _ in failed) else 1
    return f"{len(failed)} of {len(jobs)} jobs failed: {'; '.join(each)}", status
