"""A run's directory: the configuration in it, and what another command may do there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.checking import join
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

FREE = ("resume", "preflight", "show")  # of what a run computes, these say nothing
# Of the trainer: where it trains is free, what it computes isn't.
KEPT = ("max_epochs", "precision", "channels_last", "tf32", "compile", "gradient_clip_val", "gradient_clip_algorithm",
        "accumulate_grad_batches")  # fmt: skip


def load_config(directory: Path, setting: str) -> DictConfig:
    """A run's resolved configuration.

    Raises:
        SettingError: there is none; it names the setting that led here.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise SettingError(f"{setting}={directory}: no config.yaml there; give the directory of a run")
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    config.pop("defaults", None)
    return config


def save_config(config: DictConfig, directory: Path) -> None:
    """Write the configuration of the run whose directory this is."""
    write_text(directory / "config.yaml", HEADING + OmegaConf.to_yaml(config, resolve=True))


def check_unused(config: DictConfig, directory: Path) -> None:
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


def resumed(given: DictConfig, directory: Path, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The configuration of a run that goes on: its own, with the trainer and the switches of the command.

    Args:
        given: what the command composed.
        directory: of the run.
        overrides: as they stand in the command.

    Returns:
        It, and those overrides that would have changed what the run computes, and were not taken up.
    """
    config = load_config(directory, "resume")
    kept = {name: config.trainer[name] for name in KEPT if name in config.trainer}
    config.trainer = {**given.trainer, "channels_last": True, **kept}  # as it always was before there was a choice
    config.preflight, config.show = given.preflight, given.show
    places = {override: override.partition("=")[0].lstrip("+~").rpartition("@")[2] for override in overrides}
    return config, [
        override
        for override, place in places.items()
        if place not in FREE and OmegaConf.select(given, place) != OmegaConf.select(config, place)
    ]


def _differences(one: DictConfig, other: DictConfig) -> Iterator[tuple[str, Any, Any]]:
    there, here = (OmegaConf.to_container(config, resolve=True) for config in (one, other))
    for name, old, new in _leaves(there, here, ""):
        if name not in FREE:
            yield name, old, new


def _leaves(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two nested mappings differ: path, and the value in each; None for none."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        if one != other:
            yield place, one, other
        return
    for name in dict.fromkeys((*one, *other)):
        yield from _leaves(one.get(name), other.get(name), join(place, str(name)))
