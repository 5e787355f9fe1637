"""The commands. No logic: Hydra reads the configs, the work is done elsewhere and imported only when it starts."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.config.overrides import readable, with_home
from distill.endings import mistake, one_line_errors
from distill.errors import SettingError
from distill.experiment import sweep
from distill.files import CONFIGS
from distill.signals import stop_on_signals
from distill.versions import installed

T = TypeVar("T")

# What names of variables begin with that torchrun, SLURM, LSF and MPI set. Reading them is Lightning's, which takes
# seconds to import: a process without any was started alone, and --help and mistakes need not wait.
LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "LSB_", "OMPI_", "PMI", "MV2_", "MPI")

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # tells a new user first of all that it has looked for fonts


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def _train(config: DictConfig) -> float | None:
    directory = Path(HydraConfig.get().runtime.output_dir)
    config = with_home(config)
    goes_on = config.get("resume") not in (None, "auto")

    def work() -> float | None:
        if not goes_on:  # with settings of its own
            from distill.config.first_look import check

            check(config)
        from distill.experiment.pipeline import run

        return run(config, directory)

    return _work(work, Path(config.resume) if goes_on else directory)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="evaluate")
def _evaluate(config: DictConfig) -> None:
    def work() -> None:
        _check_finished(config)
        from distill.experiment.evaluate import evaluate_run

        evaluate_run(config)

    config = with_home(config)
    _work(work)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="predict")
def _predict(config: DictConfig) -> None:
    def work() -> None:
        _check_finished(config)
        from distill.experiment.predict import predict_files

        predict_files(config)

    config = with_home(config)
    _work(work)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="export")
def _export(config: DictConfig) -> None:
    def work() -> None:
        _check_finished(config)
        from distill.experiment.export import export_run

        export_run(config)

    config = with_home(config)
    _work(work)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="generate")
def _generate(config: DictConfig) -> None:
    def work() -> None:
        from distill.experiment.generate import generate

        generate(config)

    config = with_home(config)
    _work(work)


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="cache_teacher")
def _cache_teacher(config: DictConfig) -> None:
    directory = Path(HydraConfig.get().runtime.output_dir)
    config = with_home(config)

    def work() -> None:
        from distill.config.first_look import check

        check(config)
        from distill.experiment.fill_cache import fill_cache

        fill_cache(config, directory)

    _work(work)


def _check_finished(config: DictConfig) -> None:
    """Look for the run before PyTorch Lightning is imported, which takes seconds."""
    from distill.experiment.directory import check_finished

    check_finished(Path(config.run))


def train() -> None:
    """`python train.py`, `python -m distill`, `distill-train`."""
    if _needs_no_directory(sys.argv[1:]):
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]  # or Hydra makes one for a new run
    _hydra_command(_train, _train_as_one_of_many)


def _needs_no_directory(arguments: Sequence[str]) -> bool:
    """Whether the command only looks, or goes on with a run that has its directory."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    return given.get("show", "null") != "null" or given.get("resume", "null") not in ("null", "auto")


def evaluate() -> None:
    """`python scripts/evaluate.py run=DIR`, `distill-evaluate`."""
    _hydra_command(_evaluate)


def predict() -> None:
    """`python scripts/predict.py run=DIR input=FILE_OR_FOLDER output=FILE.csv`, `distill-predict`."""
    _hydra_command(_predict)


def export() -> None:
    """`python scripts/export.py run=DIR format=onnx`, `distill-export`."""
    _hydra_command(_export)


def generate() -> None:
    """`python scripts/generate.py path=DIR input=FILE output=FILE.jsonl`, `distill-generate`."""
    _hydra_command(_generate)


def cache_teacher() -> None:
    """`python scripts/cache_teacher.py [OVERRIDES]`, or `list`, `verify`, `prune`; `distill-cache-teacher`."""
    if sys.argv[1:2] and sys.argv[1] in ("list", "verify", "prune"):
        from distill.experiment.cache_commands import main

        sys.exit(one_line_errors(lambda: main(sys.argv[1:])))
    if sys.argv[1:2] and sys.argv[1].isalpha():
        print(f"error: {sys.argv[1]}: is none of list, verify, prune; settings are NAME=VALUE", file=sys.stderr)
        sys.exit(2)
    _hydra_command(_cache_teacher, _fill_as_one_of_many)


def compare() -> None:
    """`python scripts/compare.py DIR DIR ...`, `distill-compare`."""
    from distill.report.compare import main

    if _told_version():
        return
    one_line_errors(lambda: main(sys.argv[1:]))


def _train_as_one_of_many(directory: Path) -> None:
    from distill.experiment.pipeline import run_as_one_of_many

    run_as_one_of_many(directory)


def _fill_as_one_of_many(directory: Path) -> None:
    from distill.experiment.fill_cache import fill_as_one_of_many

    fill_as_one_of_many(directory)


def _hydra_command(command: Callable[[], None], as_one_of_many: Callable[[Path], None] | None = None) -> None:
    """A command whose settings Hydra reads: one job, or with -m a sweep of them.

    Args:
        command: the command itself.
        as_one_of_many: what every process but the first does where torchrun, SLURM, ... started several of them.
    """
    if _told_version():
        return
    stop_on_signals()
    sys.argv[1:] = readable(sys.argv[1:])
    # What the user's own names (method._target_, data.target, callbacks, ...) may be found under, here and in the
    # processes that this one starts: an installed command knows only its own folder.
    sys.path.append(str(Path.cwd()))
    one_line_errors(lambda: _check_options(sys.argv[1:]))
    one_line_errors(lambda: _check_named_configs(sys.argv[1:]))
    if as_one_of_many is None or not any(name.startswith(LAUNCHERS) for name in os.environ):
        _first_or_only(command)
        return
    from distill.training.peers import Peers, launcher

    if (environment := launcher()) is None:
        _first_or_only(command)
        return
    peers = one_line_errors(lambda: Peers(environment))
    if peers.rank:
        sys.exit(peers.follow(as_one_of_many, mistake))
    with peers.leading():
        one_line_errors(_no_sweep)
        _first_or_only(command)


def _check_named_configs(arguments: Sequence[str]) -> None:
    if any(argument.startswith(("--config-", "-c")) for argument in arguments):
        from distill.experiment.directory import check_named_configs

        check_named_configs(arguments)


def _check_options(arguments: Sequence[str]) -> None:
    """Raise SettingError for an option that there isn't, in place of a page of usage."""
    _, unknown = get_args_parser().parse_known_args(list(arguments))
    for option in unknown:
        if option.startswith("-"):
            name = option.lstrip("-")
            hint = f"settings have no dashes: {name}" if "=" in name else "settings are NAME=VALUE; --help lists them"
            raise SettingError(f"{option}: is no option; {hint}")


def _no_sweep() -> None:
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        raise SettingError(
            "-m: a sweep is started as one process, without torchrun or srun; each of its jobs starts as many as "
            "trainer.devices"
        )


def _first_or_only(command: Callable[[], None]) -> None:
    with suppress(sweep.JobError):  # by which an optimizing sweeper says that too many failed
        one_line_errors(command)
    failed = sweep.account(sweep.Jobs.directory) if sweep.Jobs.directory else None
    if failed:
        print(f"error: {failed[0]}", file=sys.stderr)
        sys.exit(failed[1])


def _told_version() -> bool:
    """Whether --version was asked for, which would tell Hydra's own."""
    asked = "--version" in sys.argv[1:]
    if asked:
        print(f"distill {installed('distill')}")
    return asked


def _work(work: Callable[[], T], run: Path | None = None) -> T | None:
    """The command itself, once Hydra has read its settings: alone, or as a job of a sweep."""
    return one_line_errors(lambda: sweep.job(work, mistake) if sweep.in_a_sweep() else work(), run)
