"""A run that goes on: with its own settings, but for what computes nothing of it or says where things are now."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from distill.config.effect import MAY_CHANGE, under
from distill.config.flat import differences, flat, without_part
from distill.config.overrides import is_path
from distill.errors import SettingError
from distill.experiment.directory import load_config
from distill.files import CONFIGS

SWITCHES = ("preflight", "show")  # of the command, not of the run


def resumed(given: DictConfig, directory: Path, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The configuration of a run that goes on.

    Args:
        given: what the command composed.
        directory: of the run.
        overrides: as they stand in the command.

    Returns:
        The run's own, with what the command says of MAY_CHANGE and of places of files; and those overrides that differ
        from it and are not taken up.

    Raises:
        SettingError: there is no such run, or a file that it needs is not there any more.
    """
    config = load_config(directory, "resume")
    if "channels_last" not in config.trainer:
        config.trainer.channels_last = True  # as it always was before there was a choice
    left_out = []
    for override in overrides:
        if override.startswith("resume="):
            continue
        for place, old, new in _said(override, config, given):
            if _may_change(place, old, new):
                OmegaConf.update(config, place, new, force_add=True, merge=False)
            elif override not in left_out:
                left_out.append(override)
    for switch in SWITCHES:
        OmegaConf.update(config, switch, given.get(switch), force_add=True)
    _check_files(config, directory)
    return config, left_out


def _said(override: str, config: DictConfig, given: DictConfig) -> Iterator[tuple[str, Any, Any]]:
    """What an override sets other than the run has it: path, the run's value, the command's."""
    name, _, value = override.partition("=")
    group, _, package = name.lstrip("+~").rpartition("@")
    place = package if group else name.lstrip("+~")
    if _may_change(place, None, None):
        here, there = OmegaConf.select(config, place), OmegaConf.select(given, place)
        if here != there:
            yield place, here, there
        return
    options = _set_by_options(group or package, value, place)
    if options is None:
        yield from differences(OmegaConf.select(config, place), OmegaConf.select(given, place), place)
        return
    for path in options:
        here, there = OmegaConf.select(config, path), OmegaConf.select(given, path)
        if here != there and not is_path(path):  # an option's own places of files are no one's choice
            yield path, here, there


def _set_by_options(group: str, value: str, place: str) -> list[str] | None:
    """What the files of configs/GROUP/ that an override names set; None where it names none."""
    files = [CONFIGS / group / f"{name.strip()}.yaml" for name in value.strip("[]").split(",")]
    if not all(file.is_file() for file in files):
        return None
    found: list[str] = []
    for file in files:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        assert isinstance(content, dict)
        content.pop("defaults", None)
        everywhere = file.read_text().startswith("# @package _global_")
        found += flat(content, "" if everywhere else place) if content else []
    return found


def _may_change(place: str, old: Any, new: Any) -> bool:
    if place == "trainer.devices" and old is not None:
        return bool(_count(old) == _count(new))
    return is_path(place) or under(place, tuple(MAY_CHANGE))


def _count(devices: Any) -> Any:
    return len(devices) if isinstance(devices, list | ListConfig) else devices


def _check_files(config: DictConfig, directory: Path) -> None:
    for name in ("data.root", "teacher.checkpoint", "student.checkpoint"):
        value = OmegaConf.select(config, name)
        if isinstance(value, str) and not any(Path(file).exists() for file in (value, without_part(value))):
            raise SettingError(
                f"{name}={value}: is not there any more, from {Path.cwd()}; say where it is now: "
                f"resume={directory} {name}=PATH"
            )
