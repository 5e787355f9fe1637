"""A run that goes on: which one, and with its own settings, but for what computes nothing of it or says where things
are now."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill.config.effect import MAY_CHANGE, under
from distill.config.flat import differences, flat, without_part
from distill.config.overrides import is_path
from distill.config.trust import check_trusted, names, targets
from distill.errors import SettingError
from distill.experiment.directory import OF_THE_COMMAND, find_own_code, load_config, read_config
from distill.files import CONFIGS, path_of

AUTO = "auto"  # of `resume`: whatever unfinished run there is
SETTLED = "auto"  # of other settings: the run has made the choice, and keeps it
SWITCHES = ("preflight", "show", "trust")  # of the command, not of the run


def newest_unfinished(given: DictConfig, places: Iterable[Path]) -> Path | None:
    """The run that `resume=auto` goes on with; None where there is none.

    Args:
        given: what the command composed.
        places: directories that may be those of runs.

    Returns:
        Of the runs with these settings (but for what may change) that have trained and have no summary, the one that
        was at work last.
    """
    unfinished = [
        place
        for place in places
        if not (place / "summary.json").exists() and has_trained(place) and is_of(given, place)
    ]
    return max(unfinished, key=lambda place: (place / "config.yaml").stat().st_mtime, default=None)


def has_trained(directory: Path) -> bool:
    """Whether something of a run lies there that it can go on from."""
    return any(any(directory.glob(kind)) for kind in ("checkpoints/*/*.ckpt", "checkpoints/*/record.json"))


def is_of(given: DictConfig, directory: Path) -> bool:
    """Whether the run of a directory has the settings of a command, but for those that may change."""
    try:
        config, started_in = read_config(directory, "resume")
        there = OmegaConf.to_container(config, resolve=True)
    except (SettingError, OSError, OmegaConfBaseException):
        return False  # no run, or one that cannot be read
    here = OmegaConf.to_container(OmegaConf.masked_copy(given, [str(n) for n in given if n != "hydra"]), resolve=True)
    return not any(
        _matters(path, old, new, started_in)
        for path, old, new in differences(there, here, "")
        if path not in OF_THE_COMMAND
    )


def _matters(path: str, there: Any, here: Any, started_in: Path) -> bool:
    """Whether a setting that differs makes two runs of one."""
    if is_path(path) and isinstance(there, str) and isinstance(here, str):
        return started_in / path_of(there) != Path.cwd() / path_of(here)
    return here != SETTLED and not under(path, tuple(MAY_CHANGE))


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
    trusted = {*names(given.get("trust")), *targets(OmegaConf.to_container(given))}  # what the command says itself
    if check_trusted(OmegaConf.to_container(config), "", f"resume={directory}", trusted):
        find_own_code(directory, "resume")
    if "channels_last" not in config.trainer:
        config.trainer.channels_last = True  # as it always was before there was a choice
    left_out = []
    for override in overrides:
        if override.startswith("resume="):
            continue
        for place, new in _said(override, config, given):
            if _may_change(place):
                OmegaConf.update(config, place, new, force_add=True, merge=False)
            elif override not in left_out:
                left_out.append(override)
    for switch in SWITCHES:
        OmegaConf.update(config, switch, given.get(switch), force_add=True)
    _check_files(config, directory)
    return config, left_out


def _said(override: str, config: DictConfig, given: DictConfig) -> Iterator[tuple[str, Any]]:
    """What an override sets other than the run has it: path, and the command's value."""
    name, _, value = override.partition("=")
    group, _, package = name.lstrip("+~").rpartition("@")
    place = package if group else name.lstrip("+~")
    if _may_change(place):
        here, there = OmegaConf.select(config, place), OmegaConf.select(given, place)
        if here != there:
            yield place, there
        return
    options = _set_by_options(group or package, value, place)
    if options is None:
        for path, _, there in differences(OmegaConf.select(config, place), OmegaConf.select(given, place), place):
            if there != SETTLED:
                yield path, there
        return
    for path in options:
        here, there = OmegaConf.select(config, path), OmegaConf.select(given, path)
        if here != there and not is_path(path):  # an option's own places of files are no one's choice
            yield path, there


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


def _may_change(place: str) -> bool:
    return is_path(place) or under(place, tuple(MAY_CHANGE))


def _check_files(config: DictConfig, directory: Path) -> None:
    for name in ("data.root", "teacher.checkpoint", "student.checkpoint"):
        value = OmegaConf.select(config, name)
        if isinstance(value, str) and not any(Path(file).exists() for file in (value, without_part(value))):
            raise SettingError(
                f"{name}={value}: is not there any more, from {Path.cwd()}; say where it is now: "
                f"resume={directory} {name}=PATH"
            )
