"""A baseline that another job of a sweep has trained."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from distill.config.effect import alone
from distill.config.flat import flat
from distill.experiment.directory import load_config
from distill.files import write_atomically


def take_over_baseline(config: Mapping[str, Any], directory: Path, sweep: Path) -> Path | None:
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
