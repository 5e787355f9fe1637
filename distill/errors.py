"""A user's mistake: one exception for it, and one line for each that Hydra raises."""

import argparse
import difflib
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from yaml import MarkedYAMLError


class SettingError(ValueError):
    """A setting that cannot work. The message names the setting, its value, and what would work."""


class OneLineParser(argparse.ArgumentParser):
    """Arguments of a command without settings; a mistake is a SettingError, in place of a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise SettingError(f"{message}; --help lists what there is")


class KilledError(RuntimeError):
    """One of a run's processes was killed from outside: by a person, or for want of memory."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' where a known name is close, else the list of known names, for the end of a message."""
    known = sorted(known)
    path = name[: name.rfind(".") + 1]
    if not all(other.startswith(path) for other in known):
        path = ""  # else what all lie under would count as likeness
    close = difflib.get_close_matches(name.removeprefix(path), [other.removeprefix(path) for other in known], n=1)
    return f"; did you mean {path}{close[0]}?" if close else f"; known: {', '.join(known) or 'none'}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line: its first, and its type where that says nothing."""
    line = next(iter(str(error).strip().splitlines()), "")
    telling = isinstance(error, RuntimeError | ValueError | TypeError | IndexError | AssertionError)
    if isinstance(error, NotImplementedError) or not (telling and line):
        return f"{type(error).__name__}: {line}" if line else type(error).__name__
    return line


def explain(error: BaseException, configs: Path) -> str:
    """One line that says what to change, from our own errors, Hydra's, OmegaConf's and those of files.

    Args:
        error: one of them.
        configs: the directory of configs, for what there is to choose from.
    """
    if isinstance(error, SettingError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:  # not Hydra's own, which have none
        place = error.filename2 or error.filename  # none where an open file is written to
        named = (given for given in sys.argv[1:] if place and str(place).startswith(given.partition("=")[2] or "="))
        told = next(named, place)  # the setting, if the command gives this path or one above it
        return f"{f'{told}: ' if told else ''}{error.strerror} (HYDRA_FULL_ERROR=1 shows where)"
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return f"{f'{mark.name}, line {mark.line + 1}: ' if mark else ''}is no YAML: {error.problem or error.context}"
    if "Config group override must be a string" in str(error):
        groups = {argument: re.split("[@=]", argument)[0] for argument in sys.argv[1:]}
        chosen = (argument for argument, group in groups.items() if (configs / group).is_dir())
        number = next((argument for argument in chosen if argument.endswith((*"0123456789", "=null"))), "")
        return f"{number}: must be one of {', '.join(_options(configs, groups.get(number, '')))}"
    cause = error.__cause__ or error
    unknown_key = getattr(cause, "full_key", None)
    if "not in struct" in str(cause) and unknown_key:
        parent = unknown_key.rpartition(".")[0]
        known = [f"{parent}.{name}".lstrip(".") for name in _siblings(cause)]
        if parent and not known:
            return f"{unknown_key}: choose {parent}=NAME first; known: {', '.join(_options(configs, parent))}"
        return f"{unknown_key} is not a setting{suggestion(unknown_key, known)}"
    if type(cause).__name__ == "MissingMandatoryValue" and unknown_key:
        return f"{unknown_key} is not set: give {unknown_key}=VALUE"
    unknown_option = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", str(error))
    if unknown_option:
        group, option = unknown_option.groups()
        known = _options(configs, group)
        # Hydra forgets the place that it was for: model@student=...
        given = next((a for a in sys.argv[1:] if a.startswith(f"{group}@") and a.endswith(f"={option}")), None)
        return f"{given or f'{group}={option}'}: there is no configs/{group}/{option}.yaml{suggestion(option, known)}"
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", str(error)):
        name, values = several.groups()
        return (
            f"{name}={values}: is several values; -m runs a job for each, {_words(name, f'[{values}]')} gives a list, "
            f"and {_words(name, quoted(values))} is one text"
        )
    if isinstance(override := getattr(error, "override", None), str):
        name, equals, value = override.partition("=")
        return f"{override}: cannot be read; " + (
            f"as a text write {_words(name, quoted(value))}"
            if equals
            else f"write {name}=VALUE"
            if name.replace(".", "").isidentifier()
            else f"settings are NAME=VALUE: write what it is, such as run={name}"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line]
    return "; ".join(lines[:2]) or type(error).__name__


def quoted(value: str) -> str:
    """A text as Hydra reads it back letter by letter."""
    return '"' + re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value) + '"'


def _words(name: str, value: str) -> str:
    """A setting as a shell takes it."""
    return shlex.quote(f"{name}={value}")


def _options(configs: Path, group: str) -> list[str]:
    return sorted(file.stem for file in (configs / group).glob("*.yaml"))


def _siblings(cause: BaseException) -> list[str]:
    parent = getattr(cause, "parent_node", None)
    return [] if parent is None else [str(name) for name in parent]
