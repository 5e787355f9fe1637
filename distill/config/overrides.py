"""Quotes values of the command line as Hydra's grammar needs it.

To Hydra, `=`, `~`, `#`, brackets and spaces mean something; in names of files they are letters. What it cannot read is
put in quotes here, so that all behind the first `=` is the value. Sweeps, lists and interpolations stay as they are.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from distill.errors import quoted

PATHS = {"checkpoint", "checkpoints", "dir", "input", "output", "path", "resume", "root", "run"}
"""Settings of files and directories, by the last part of their names."""
WITH_A_VALUE = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--package",
    "-p",
    "--info",
    "-i",
)
SWEEPS = ("-m", "--multirun", "hydra.mode=MULTIRUN")


def readable(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with quotes around the values that need them."""
    sweeping = any(argument in SWEEPS for argument in arguments)
    before = ("", *arguments)
    return [
        argument
        if argument.startswith("-") or "=" not in argument or option in WITH_A_VALUE
        else _readable(argument, sweeping=sweeping)
        for option, argument in zip(before, arguments, strict=False)
    ]


def is_path(name: str) -> bool:
    """Whether a setting is a file or a directory, or a list of them."""
    return name.lstrip("+~").rpartition(".")[2] in PATHS


def with_home(config: DictConfig) -> DictConfig:
    """The configuration with `~` replaced at the start of any text: nothing but a path begins with `~/`."""
    expanded: DictConfig = OmegaConf.create(_with_home(OmegaConf.to_container(config, resolve=False)))
    OmegaConf.set_struct(expanded, True)
    return expanded


def _with_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_home(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value  # noqa: PTH111


def _readable(argument: str, *, sweeping: bool) -> str:
    name, value = argument.split("=", 1)
    if name.startswith("hydra."):
        value = os.path.expanduser(value)  # noqa: PTH111 - Hydra uses its own before we see them
    override = _parse(f"{name}={value}")
    if override is None:
        changed = _with_quotes(value, sweeping=sweeping, path=is_path(name))
    elif is_path(name) and _is_literal(override, value, sweeping=sweeping):
        changed = quoted(value)
    else:
        changed = value
    return f"{name}={changed}" if _parse(f"{name}={changed}") else argument


def _is_literal(override: Override, value: str, *, sweeping: bool) -> bool:
    """Whether the value of a path, which Hydra takes for something else, is the name of a file as it stands."""
    if isinstance(override.value(), int | float):  # 2024, 1e3, true
        return True
    return not sweeping and override.value() is not None and str(override.value()) != value and Path(value).exists()


def _with_quotes(value: str, *, sweeping: bool, path: bool) -> str:
    if value.startswith("[") and value.endswith("]"):
        return f"[{_each(value[1:-1])}]"
    if sweeping and "," in value:
        return _each(value)
    if value[:1] in ("[", "{") and not path:
        return value  # a list or a mapping with a mistake in it
    return quoted(value)


def _each(values: str) -> str:
    return ",".join(part if _parse(f"x={part}") else quoted(part.strip()) for part in values.split(","))


def _parse(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
