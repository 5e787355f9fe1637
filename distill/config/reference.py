"""Every setting with its default and its comment, out of the files of configs/: docs/configuration.md."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

HEADING = """\
# Configuration

Written by `python scripts/list_settings.py` from the files of configs/ and their comments; a test checks that it is
current. A setting is given by its path, `python train.py trainer.max_epochs=20`; `GROUP=NAME` chooses a file of
configs/GROUP/, and `+PATH=VALUE` adds a setting that a file does not name. `???` must be given.
"""
COMMANDS = ("train", "evaluate", "predict", "export", "cache_teacher")
GIVEN_BY = {
    "model": "model@teacher=NAME and model@student=NAME",
    "method": "method=NAME or 'method=[NAME,NAME]'",
    "optimizer": "optimizer=NAME, optimizer@teacher.optimizer=NAME",
    "scheduler": "scheduler=NAME, scheduler@teacher.scheduler=NAME",
}
"""How an option is chosen, where it isn't GROUP=NAME."""
NO_SETTINGS = ("defaults", "hydra", "_target_", "_partial_")
HEAD = "| setting | default | what it does |\n|---|---|---|"


@dataclass(frozen=True, slots=True)
class Setting:
    """One of a file.

    path: dotted. default: as it is written there; empty for one that has settings of its own. comment: beside it.
    before: of the lines above it, which speak of it and of those below.
    """

    path: str
    default: str
    comment: str
    before: str


def reference(configs: Path) -> str:
    """The page as Markdown."""
    parts = [HEADING]
    for command in COMMANDS:
        parts += [f"## {command}.yaml", _described(configs / f"{command}.yaml")]
    for group in sorted(path for path in configs.iterdir() if path.is_dir() and path.name != "hydra"):
        given = GIVEN_BY.get(group.name, f"{group.name}=NAME")
        parts += [f"## {group.name}", f"Chosen by `{given}`."]
        for file in sorted(group.glob("*.yaml")):
            parts += [f"### {group.name}: {file.stem}", _described(file)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def settings_of(text: str) -> tuple[str, list[Setting]]:
    """The comment at the head of a YAML file, and its settings, in order."""
    lines = text.split("\n")
    taken: set[int] = set()  # lines whose comment was said of a setting already
    root = yaml.compose(text)
    found = [] if root is None or not root.value else list(_walk(root, "", lines, taken))
    first = next((place for place, line in enumerate(lines) if line and not line.startswith("#")), len(lines))
    head = [line for line in lines[:first] if not line.startswith("# @package")]
    return _joined(head), found


def _walk(node: yaml.MappingNode, place: str, lines: Sequence[str], taken: set[int]) -> Iterator[Setting]:
    for key, value in node.value:
        path = f"{place}.{key.value}" if place else str(key.value)
        if key.value in NO_SETTINGS:
            continue
        before = _above(lines, key.start_mark, taken) if place or key.start_mark.line else ""
        block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
        end = key.end_mark if block else value.end_mark
        comment = _beside(lines, end.line, end.column, taken)
        text = "" if block else _source(lines, value)
        if not block or comment or before:
            yield Setting(path, text, comment, before)
        if block:
            yield from _walk(value, path, lines, taken)


def _above(lines: Sequence[str], mark: yaml.Mark, taken: set[int]) -> str:
    """The comment in the lines above a setting, as far in as it is; not that at the head of the file."""
    start = mark.line
    while start > 0 and lines[start - 1].startswith(f"{' ' * mark.column}#") and start - 1 not in taken:
        start -= 1
    return "" if start == 0 else _joined(lines[start : mark.line])


def _beside(lines: Sequence[str], number: int, column: int, taken: set[int]) -> str:
    """The comment behind a value, which goes on in lines that have nothing else, as far in."""
    rest = lines[number][column:].lstrip(" :")
    if not rest.startswith("#"):
        return ""
    at = lines[number].rindex(rest)
    found = [rest]
    while number + 1 < len(lines) and lines[number + 1].strip().startswith("#") and lines[number + 1].index("#") == at:
        number += 1
        taken.add(number)
        found.append(lines[number])
    return _joined(found)


def _joined(comments: Sequence[str]) -> str:
    return " ".join(line.strip().removeprefix("#").strip() for line in comments if line.strip())


def _source(lines: Sequence[str], value: yaml.Node) -> str:
    """A value as the file writes it, in one line."""
    start, end = value.start_mark, value.end_mark
    if start.line == end.line:
        return str(lines[start.line][start.column : end.column])
    if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
        return "..."
    between = [lines[start.line][start.column :], *lines[start.line + 1 : end.line], lines[end.line][: end.column]]
    return " ".join(line.split(" #")[0].strip() for line in between).strip()


def _described(file: Path) -> str:
    """What a file is, what it builds, and its settings."""
    text = file.read_text(encoding="utf-8")
    head, found = settings_of(text)
    target = re.search(r"^(?:  )?_target_: (\S+)$", text, flags=re.MULTILINE)
    bases = re.search(r"^defaults: \[(.*)\]$", text, flags=re.MULTILINE)
    parts = [_plain(head)] if head else []
    parts += [f"Builds `{target[1]}`."] if target else []
    if bases and (names := [name for name in bases[1].split(", ") if name != "_self_"]):
        parts.append(f"As {', '.join(f'`{name}`' for name in names)}, but for what follows.")
    rows: list[str] = []
    for setting in found:
        if setting.before or not rows:
            rows += ["", _plain(setting.before), "", HEAD] if setting.before else [HEAD]
        if not (setting.default or setting.comment):
            continue
        default = f"`{setting.default}`" if setting.default else ""
        cells = (f"`{setting.path}`", default, _plain(setting.comment))
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n\n".join([*parts, "\n".join(rows).strip("\n")]) if rows else "\n\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Without what Markdown would take for a tag or an emphasis, outside of code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
