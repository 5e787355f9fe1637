"""Stages that the jobs of a sweep share: one trains the teacher or the baseline, and the others take it over."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from distill.config.effect import alone, of_the_teacher
from distill.config.flat import flat
from distill.experiment.directory import load_config
from distill.files import write_atomically

log = logging.getLogger("distill")

COUNTS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"teacher": of_the_teacher, "baseline": alone}
"""The stages that are shared, and the settings that have to agree."""


@contextmanager
def shared(stage: str, config: Mapping[str, Any], directory: Path, sweep: Path | None) -> Iterator[None]:
    """Around the training of a stage. A job waits while another one trains the same, and then takes it over.

    Jobs may run side by side, on one machine or on several with one disk. The system lets go of the lock when the job
    that trains ends, however it ends; then the next one trains.

    Args:
        stage: 'teacher' or 'baseline'.
        config: of the run.
        directory: of the run.
        sweep: the directory of all jobs; None outside a sweep.
    """
    if sweep is None or (directory / _record(stage)).is_file():
        yield
        return
    settings = str(sorted(COUNTS[stage](flat(config)).items()))
    name = f"{stage}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.lock"
    (sweep / ".shared").mkdir(parents=True, exist_ok=True)
    with FileLock(sweep / ".shared" / name):
        take_over(stage, config, directory, sweep)
        yield


def take_over(stage: str, config: Mapping[str, Any], directory: Path, sweep: Path) -> Path | None:
    """Copy a stage that another job of a sweep has trained with the same settings, if there is one.

    Files are there whole or not at all, and the record, without which weights don't count, comes last on both sides.

    Returns:
        The directory of that job; None where there is none.
    """
    wanted, record, counts = COUNTS[stage](flat(config)), _record(stage), COUNTS[stage]
    if (directory / record).is_file():
        return None
    for file in sorted(sweep.rglob(f"{stage}.safetensors")):
        other = file.parent
        if not ((other / record).is_file() and (other / "config.yaml").is_file()):
            continue
        if counts(flat(load_config(other, "hydra.sweep.dir"))) != wanted:
            continue
        if (charts := other / "tensorboard" / stage).is_dir():
            shutil.copytree(charts, directory / "tensorboard" / stage, dirs_exist_ok=True)
        for part in (Path(file.name), record):
            write_atomically(directory / part, partial(shutil.copyfile, other / part))
        log.info(f"{stage}: taken over from {other}, which trained it with the same settings")
        return other
    return None


def _record(stage: str) -> Path:
    return Path("checkpoints") / stage / "record.json"
