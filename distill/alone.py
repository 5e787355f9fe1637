"""What a student that is trained without a teacher depends on: runs that agree in it share a baseline."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from distill.directory import STARTED_IN, flat, load_config
from distill.files import write_atomically

OF_NO_EFFECT = ("defaults", STARTED_IN, "resume", "preflight", "show", "profile", "logger", "trainer.progress",
                "trainer.log_every_n_steps", "data.workers", "data.in_memory")  # fmt: skip
"""Settings that change nothing of what is trained."""
OF_THE_TEACHING = ("baseline", "method", "teaching", "chain", "generations", "teacher")
"""What a student alone knows nothing of. What is not named here, it depends on."""
BUT = ("teaching.epochs",)  # after how many epochs images come again, for the baseline too


def alone(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings by their dotted paths, those that count for the student without a teacher."""
    return {path: value for path, value in settings.items() if path in BUT or (not under(path, OF_THE_TEACHING)
            and not under(path, OF_NO_EFFECT))}  # fmt: skip


def take_over_baseline(config: DictConfig, directory: Path, sweep: Path) -> Path | None:
    """Copy the baseline that another job of a sweep has trained from the same settings, if there is one.

    Jobs may run side by side: files are there whole or not at all, and the record, without which weights don't count,
    comes last on both sides. A job that finds none finished trains its own.

    Args:
        config: of the run.
        directory: of the run.
        sweep: the directory of all jobs.

    Returns:
        The directory of that job; None where there is none.
    """
    wanted, record = alone(flat(config)), Path("checkpoints/baseline/record.json")
    if (directory / record).is_file():
        return None
    for file in sorted(sweep.rglob("baseline.safetensors")):
        other = file.parent
        if not ((other / record).is_file() and (other / "config.yaml").is_file()):
            continue
        if alone(flat(load_config(other, "hydra.sweep.dir"))) != wanted:
            continue
        if (charts := other / "tensorboard" / "baseline").is_dir():
            shutil.copytree(charts, directory / "tensorboard" / "baseline", dirs_exist_ok=True)
        for part in (Path(file.name), record):
            write_atomically(directory / part, partial(shutil.copyfile, other / part))
        return other
    return None


def under(path: str, places: tuple[str, ...]) -> bool:
    """Whether a setting is one of these places or below one."""
    return any(path == place or path.startswith(f"{place}.") for place in places)
