"""The commands. No logic: Hydra reads the configs, the work is done elsewhere and imported only when it starts."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distill.errors import SettingError, explain
from distill.files import CONFIGS

T = TypeVar("T")

FULL_ERROR = "HYDRA_FULL_ERROR"
DEBUGGING = os.environ.get(FULL_ERROR) == "1"

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # tells a new user first of all that it has looked for fonts


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def _train(config: DictConfig) -> float | None:
    from distill.pipeline import run

    directory = Path(HydraConfig.get().runtime.output_dir)
    return one_line_errors(lambda: run(config, directory), Path(config.get("resume") or directory))


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="evaluate")
def _evaluate(config: DictConfig) -> None:
    from distill.evaluate import evaluate_run

    one_line_errors(lambda: evaluate_run(config))


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="predict")
def _predict(config: DictConfig) -> None:
    from distill.predict import predict_files

    one_line_errors(lambda: predict_files(config))


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="export")
def _export(config: DictConfig) -> None:
    from distill.export import export_run

    one_line_errors(lambda: export_run(config))


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="cache_teacher")
def _cache_teacher(config: DictConfig) -> None:
    from distill.teachers.fill import fill_cache

    one_line_errors(lambda: fill_cache(config, Path(HydraConfig.get().runtime.output_dir)))


def train() -> None:
    """`python train.py`, `distill-train`."""
    if _needs_no_directory(sys.argv[1:]):
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]  # or Hydra makes one for a new run
    one_line_errors(_train)


def _needs_no_directory(arguments: Sequence[str]) -> bool:
    """Whether the command only looks, or goes on with a run that has its directory."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    return any(given.get(name, "null") != "null" for name in ("show", "resume"))


def evaluate() -> None:
    """`python scripts/evaluate.py run=DIR`, `distill-evaluate`."""
    one_line_errors(_evaluate)


def predict() -> None:
    """`python scripts/predict.py run=DIR input=FILE_OR_FOLDER output=FILE.csv`, `distill-predict`."""
    one_line_errors(_predict)


def export() -> None:
    """`python scripts/export.py run=DIR format=onnx`, `distill-export`."""
    one_line_errors(_export)


def cache_teacher() -> None:
    """`python scripts/cache_teacher.py [OVERRIDES]`, or `list`, `verify`, `prune`; `distill-cache-teacher`."""
    if sys.argv[1:2] and sys.argv[1] in ("list", "verify", "prune"):
        from distill.teachers.commands import main

        sys.exit(one_line_errors(lambda: main(sys.argv[1:])))
    one_line_errors(_cache_teacher)


def compare() -> None:
    """`python scripts/compare.py DIR DIR ...`, `distill-compare`."""
    from distill.report.compare import main

    one_line_errors(lambda: main(sys.argv[1:]))


def one_line_errors(command: Callable[[], T], run: Path | None = None) -> T:
    """A user's mistake ends in one line and exit status 2; HYDRA_FULL_ERROR=1 shows the traceback instead.

    So does a loss that is not finite, which is a setting's fault too, and a file that can't be read or written. Around
    the commands for what Hydra finds, and around the work itself so that Hydra adds no lines of its own.

    What Ctrl-C or SIGTERM ends, ends in one line and 130 or 143, which says how to go on with `run`, if that has begun.
    """
    given = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"  # Hydra hands its errors on instead of printing them its own way
    try:
        return command()
    except (SettingError, FloatingPointError, OSError, HydraException, OmegaConfBaseException) as error:
        if DEBUGGING:
            raise
        print(f"error: {explain(error, CONFIGS)}", file=sys.stderr)
        sys.exit(2)
    except BaseException as end:
        stopped_by = _signal(end)
        if stopped_by is None or DEBUGGING:
            raise
        begun = run is not None and (run / "config.yaml").is_file()
        print(f"stopped by {stopped_by.name}" + (f"; go on with resume={run}" if begun else ""), file=sys.stderr)
        sys.exit(128 + stopped_by)
    finally:
        if given is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = given


def _signal(end: BaseException) -> signal.Signals | None:
    """Which signal ended the work, if one did.

    Lightning makes exit status 1 of Ctrl-C, and 0 of SIGTERM; what starts several processes has an exception for both.
    """
    if isinstance(end, KeyboardInterrupt) or (
        isinstance(end, SystemExit) and end.code == 1 and isinstance(end.__context__, KeyboardInterrupt)
    ):
        return signal.SIGINT
    if type(end).__name__ == "SignalException":
        return signal.Signals(end.sigval)  # type: ignore[attr-defined]
    return signal.SIGTERM if type(end).__name__ == "SIGTERMException" else None
