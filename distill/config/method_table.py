"""The table of all methods, out of their configs and the headings of their files: docs/methods.md."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from distill import methods
from distill.methods.view import Trait

HEADING = """\
# Methods

Written by `python scripts/list_methods.py` from configs/method/ and the headings of distill/methods/; a test checks
that it is current. `method=NAME` chooses one, `'method=[kd,at]'` composes several, `method.NAME.SETTING=VALUE` sets
what is listed, and `'method.NAME.schedules={weight: {_target_: distill.schedules.Ramp, until: 0.1}}'` moves a number
over the run.

Layers: `stages` is the output of each stage of a network, `last_stage` the map that it pools, `embedding` what its
classifier sees; all are found by themselves, and paths such as `[layer2, layer3]` name others. `levels.*` and `boxes`
are a detector's: the maps of its pyramid, and what its head says of the edges of boxes.
`hidden_cosine`, `minilm` and `tinybert` are for transformers: `stages` are blocks there, and padding counts nowhere.

| method | paper | needs | defaults | where they come from |
|---|---|---|---|---|
"""

NEEDS = {
    "needs_classifier": "the teacher's classifier",
    "needs_classes": "labels",
    "needs_labels": "memory of every training sample",
}
"""What a method asks for beside both networks' answers, by the attribute that says so."""
DATA: dict[Trait, str] = {"boxes": "boxes", "a class for each position": "masks"}
"""And of the data, by what it needs of the task."""


def methods_table(configs: Path) -> str:
    """The page as markdown, a row for each file of `configs`."""
    return HEADING + "".join(_row(file) + "\n" for file in sorted(configs.glob("*.yaml")))


def _row(file: Path) -> str:
    [(name, settings)] = _plain(file).items()
    method = getattr(methods, settings.pop("_target_").rpartition(".")[2])
    module = sys.modules[method.__module__]
    option = f"`{file.stem}`" + ("" if file.stem == name else f" (sets `method.{name}`)")
    cells = (option, _paper(module), _needs(method, settings), _defaults(settings), _source(file))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(file: Path) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(OmegaConf.load(file))
    return dict(config)


def _paper(module: ModuleType) -> str:
    """The first line of the file, its arXiv number as a link."""
    line = (module.__doc__ or "").split("\n")[0].rstrip(".")
    return re.sub(r"(\d{4}\.\d{4,5})", r"[\1](https://arxiv.org/abs/\1)", line)


def _needs(method: type[methods.Method], settings: dict[str, Any]) -> str:
    found = [what for trait, what in DATA.items() if trait in method.needs]
    found += [what for attribute, what in NEEDS.items() if getattr(method, attribute)]
    if settings["label_weight"] and "labels" not in found:
        found.append("labels")
    if not method.needs_teacher:
        found.append("no teacher")
    ours, theirs = (",".join(settings.get(side, ())) for side in ("student_layers", "teacher_layers"))
    layers = [] if not ours else [f"layers: {ours}" if ours == theirs else f"layers: {ours} for the teacher's {theirs}"]
    return "; ".join(layers + found)


def _defaults(settings: dict[str, Any]) -> str:
    hidden = ("student_layers", "teacher_layers", "schedules")
    shown = {name: value for name, value in settings.items() if name not in hidden}
    if not shown.get("standardize_logits"):
        shown.pop("standardize_logits", None)
    return ", ".join(f"{name} {str(value).lower()}" for name, value in shown.items())


def _source(file: Path) -> str:
    """The comment at the head of a config."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
