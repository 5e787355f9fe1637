"""A run's directory: the configuration in it, and what another command may do there."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.events import AliasEvent

from distill.config.effect import ABOUT_THE_RUN, PROCESSES, STARTED_IN
from distill.config.flat import differences, flat, without_part
from distill.config.overrides import is_path
from distill.config.trust import check_trusted
from distill.errors import SettingError
from distill.files import write_text

HEADING = """\
# The configuration of this run, every value resolved. To run it again:
#   python train.py --config-dir THIS_DIRECTORY --config-name config
defaults:
  - _self_
  - override hydra/job_logging: none
  - override hydra/output: own_directory
"""

CONFIG_DIRECTORY = ("--config-dir", "-cd", "--config-path", "-cp")
OF_THE_COMMAND = ("resume", "trust", "preflight", "show", *ABOUT_THE_RUN)  # of what a run computes, these say nothing


def load_config(directory: Path, setting: str) -> DictConfig:
    """A run's resolved configuration, as it is to be read from here.

    Relative paths are looked for in the directory that the run was started in, if that still has them, else in the
    current one.

    Raises:
        SettingError: there is none; it names the setting that led here.
    """
    config, started_in = read_config(directory, setting)
    if _is_elsewhere(started_in):
        _set_paths(config, started_in)
    return config


def check_finished(directory: Path) -> None:
    """Raise SettingError unless a directory is that of a run, and the run has finished."""
    read_config(directory, "run")
    if not all((directory / name).is_file() for name in ("student.json", "student.safetensors")):
        raise SettingError(f"run={directory}: not finished; go on with `python train.py resume={directory}`")


def find_own_code(directory: Path, setting: str) -> None:
    """Have names of the user's own code looked for where the run of a directory was started, too; only for a run whose
    code is trusted."""
    started_in = read_config(directory, setting)[1]
    if _is_elsewhere(started_in):
        sys.path.append(str(started_in))


def check_named_configs(arguments: Sequence[str]) -> None:
    """Before Hydra reads them: raise SettingError if the files of a run that `--config-dir` names name code that is not
    trusted, for Hydra would call some of it by itself.

    Args:
        arguments: of the command. What they say themselves is trusted.
    """
    said = {value.strip("[]\"'") for argument in arguments for value in argument.partition("=")[2].split(",")}
    for option, value in zip(arguments, (*arguments[1:], ""), strict=True):
        name, equals, here = option.partition("=")
        directory = Path(here if equals else value).expanduser()
        if name in CONFIG_DIRECTORY and _is_of_a_run(directory):
            for file in directory.glob("*.yaml"):
                check_trusted(OmegaConf.to_container(_read(file)), "", f"{name}={directory}", said)


def _is_of_a_run(directory: Path) -> bool:
    return any(any(directory.glob(name)) for name in (".lock", "checkpoints", "*.safetensors", "summary.json"))


def _is_elsewhere(started_in: Path) -> bool:
    return started_in.is_dir() and started_in.resolve() != Path.cwd()


def read_config(directory: Path, setting: str) -> tuple[DictConfig, Path]:
    """A run's resolved configuration as it is written, and the directory that the run was started in.

    Raises:
        SettingError: as `load_config`.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise SettingError(f"{setting}={directory}: no config.yaml there; give the directory of a run")
    config = _read(file)
    for name in ("defaults", PROCESSES):
        config.pop(name, None)
    return config, Path(str(config.pop(STARTED_IN, ".")))


def _read(file: Path) -> DictConfig:
    """A file of settings that may be anybody's."""
    try:
        text = file.read_text(encoding="utf-8")
        if any(isinstance(event, AliasEvent) for event in yaml.parse(text, yaml.CSafeLoader)):
            raise SettingError(f"{file}: has YAML aliases, which may stand for more than memory holds; write them out")
        config = OmegaConf.load(StringIO(text))
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise SettingError(f"{file}: is damaged or no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, DictConfig):
        raise SettingError(f"{file}: holds no settings")
    return config


def _set_paths(config: DictConfig, started_in: Path) -> None:
    for name, value in flat(config).items():
        if not is_path(name):
            continue
        found = [_found(item, started_in) for item in (value if isinstance(value, list) else [value])]
        OmegaConf.update(config, name, found if isinstance(value, list) else found[0], merge=False)


def _found(value: Any, started_in: Path) -> Any:
    """A path as it is to be read from here; what is none, or isn't there, stays as it is."""
    there = (
        isinstance(value, str) and value and any((started_in / file).exists() for file in (value, without_part(value)))
    )
    return str(started_in / value) if there else value


def save_config(config: Mapping[str, Any], directory: Path, processes: int = 1) -> None:
    """Write the configuration of the run whose directory this is, which trains in so many processes."""
    kept = {**config, STARTED_IN: str(Path.cwd()), PROCESSES: processes}
    write_text(directory / "config.yaml", HEADING + OmegaConf.to_yaml(OmegaConf.create(kept), resolve=True))


def check_processes(directory: Path, processes: int, devices: Any) -> None:
    """Raise SettingError if a run would go on in another number of processes: a step would take another batch.

    Args:
        directory: of the run.
        processes: how many there are now.
        devices: trainer.devices as it is now.
    """
    kept = OmegaConf.load(directory / "config.yaml")
    before = OmegaConf.select(kept, PROCESSES, default=processes)  # runs of older versions don't say
    if before != processes:
        raise SettingError(
            f"trainer.devices={devices}: here these are {processes} processes, and the run has trained in {before}, "
            f"each with its share of a batch; give as many, with trainer.devices={before} on one machine"
        )


def check_unused(config: Mapping[str, Any], directory: Path) -> None:
    """Raise SettingError if another run has trained in a directory: its networks would be taken for this one's."""
    weights = sorted(directory.glob("*.safetensors"))
    if weights and not (directory / "config.yaml").is_file():
        raise SettingError(
            f"hydra.run.dir={directory}: {weights[0].name} of something else lies there; give the run a directory of "
            "its own"
        )
    if weights or (directory / "checkpoints").exists():
        there = load_config(directory, "hydra.run.dir")
        for name, old, new in _differences(there, config):
            raise SettingError(
                f"hydra.run.dir={directory}: a run with {name}={old} lies there, and this one has {new}; give "
                f"this one a directory of its own, or go on with that one: python train.py resume={directory}"
            )


def _differences(one: DictConfig, other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, old, new in differences(OmegaConf.to_container(one, resolve=True), other, ""):
        if name not in OF_THE_COMMAND:
            yield name, old, new
