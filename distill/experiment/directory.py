"""A run's directory: the configuration in it, and what another command may do there."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config.effect import STARTED_IN
from distill.config.flat import differences, flat, without_part
from distill.config.overrides import is_path
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

OF_THE_COMMAND = ("resume", "preflight", "show", STARTED_IN)  # of what a run computes, these say nothing


def load_config(directory: Path, setting: str) -> DictConfig:
    """A run's resolved configuration, as it is to be read from here.

    Relative paths, and names of the user's own code, are looked for in the directory that the run was started in, if
    that still has them, else in the current one.

    Raises:
        SettingError: there is none; it names the setting that led here.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise SettingError(f"{setting}={directory}: no config.yaml there; give the directory of a run")
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    config.pop("defaults", None)
    started_in = Path(config.pop(STARTED_IN, "."))
    if started_in.is_dir() and started_in.resolve() != Path.cwd():
        sys.path.append(str(started_in))
        _set_paths(config, started_in)
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


def save_config(config: Mapping[str, Any], directory: Path) -> None:
    """Write the configuration of the run whose directory this is."""
    kept = {**config, STARTED_IN: str(Path.cwd())}
    write_text(directory / "config.yaml", HEADING + OmegaConf.to_yaml(OmegaConf.create(kept), resolve=True))


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
