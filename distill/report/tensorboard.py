"""What TensorBoard shows beside the curves: the configuration, the final figures, the pictures, a loaded teacher."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from distill.config.effect import OF_NO_EFFECT, under
from distill.report.content import Drawing
from distill.report.results import Results
from distill.tasks.base import Metric
from distill.training.stats import StageStats

Value = bool | int | float | str

SHOWN_AS = ("optimizer.lr", "trainer.max_epochs", "data.batch_size", "model@teacher", "model@student")  # other names


def charts(metric: Metric) -> dict[str, Any]:
    """The layout of the custom scalars.

    Teacher, baseline and student are runs with the same tags; this puts those that compare them first, in one place.
    """
    return {
        "teacher, baseline, student": {
            metric.words: ["Multiline", [metric.logged]],
            "cross-entropy": ["Multiline", ["val/ce", "train/ce"]],
            "agreement with the teacher": ["Multiline", ["val/agreement"]],
        },
        "terms of the loss": {"weighted": ["Multiline", ["weighted/.*"]], "weights": ["Multiline", ["weight/.*"]]},
    }


def log_results(results: Results, config: Mapping[str, Any], drawings: Sequence[Drawing], directory: Path) -> None:
    """Add to the student's run in `directory`; nothing where the run has no TensorBoard logs."""
    if not directory.is_dir():
        return
    student = results.stages["student"]
    steps = student.record.steps if student.record else 0
    with SummaryWriter(str(directory / "student")) as writer:
        text = "\n".join("    " + line for line in OmegaConf.to_yaml(config).splitlines())
        writer.add_text("config", text)
        writer.add_text("verdict", html.escape(results.verdict(), quote=False))  # Markdown, which lets HTML through
        for drawing in drawings:
            if drawing.tag is not None:
                writer.add_figure(drawing.tag, drawing.figure, global_step=steps, close=False)
        final = _final(results)
        for summary in hparams(hyperparameters(results, config), final):
            writer._get_file_writer().add_summary(summary)
        drawn = student.record.history[-1] if student.record and student.record.history else {}
        for name in final.keys() - drawn.keys():  # the others are the last points of their curves already
            writer.add_scalar(name, final[name], steps)
        writer.add_custom_scalars(charts(results.task.metric))
    _draw_lines(results, student.record, directory)


def _draw_lines(results: Results, student: StageStats | None, directory: Path) -> None:
    """A horizontal line over the student's epochs for each network that wasn't trained here, in a run of its own."""
    if student is None or not student.history:
        return
    epochs = [int(epoch["epoch"]) for epoch in student.history]
    for name, stage in results.stages.items():
        score = results.validation.score(name)
        if stage.record is None and score is not None:
            with SummaryWriter(str(directory / name)) as writer:
                for epoch in epochs:
                    step = student.steps * epoch // epochs[-1]
                    writer.add_scalar(results.task.metric.logged, score, step)
                    if (loss := results.validation.networks[name].label_loss) is not None:
                        writer.add_scalar("val/ce", loss, step)


def _final(results: Results) -> dict[str, float]:
    """Under the names of the validation curves."""
    split = results.validation
    gain = None if split.gain is None else split.gain.value
    named = {"gain_points": split.gain_points} if results.task.metric.percent else {"gain": gain}
    values = {**split.networks["student"].values, **named}
    if results.test and (score := results.test.score("student")) is not None:
        values[f"test/{results.task.metric.name}"] = score
    return {
        name if name.startswith("test/") else f"val/{name}": float(value)
        for name, value in values.items()
        if value is not None
    }


def hyperparameters(results: Results, config: Mapping[str, Any]) -> dict[str, Value]:
    """What the table of hyperparameters shows of a run: few columns, named alike for all methods.

    The numbers of a single method stand under their own names, those of several behind the name of each; so do the
    settings that were given for the run, beside what every run has.
    """
    method, trainer, data = (config.get(name) or {} for name in ("method", "trainer", "data"))
    found: dict[str, Any] = {
        "method": " + ".join(results.method),
        "teacher": results.stages["teacher"].network,
        "student": results.stages["student"].network,
        "data": results.data,
        "lr": (config.get("optimizer") or {}).get("lr"),
        "epochs": trainer.get("max_epochs"),
        "batch_size": data.get("batch_size"),
        "seed": results.seed,
    }
    for name, settings in method.items():
        prefix = "" if len(method) == 1 else f"{name}."
        numbers = {key: value for key, value in settings.items() if type(value) in (int, float)}
        found |= {prefix + key: value for key, value in numbers.items()}
    return {name: value for name, value in (found | _given(results, found)).items() if value is not None}


def _given(results: Results, known: Mapping[str, Any]) -> dict[str, str]:
    """Settings of the command that no column shows, by their paths."""
    overrides = results.provenance.overrides if results.provenance else []
    pairs = [override.lstrip("+").partition("=") for override in overrides if not override.startswith("~")]
    return {
        path: value
        for path, _, value in pairs
        if not (under(path, OF_NO_EFFECT) or path in (*known, *SHOWN_AS) or _of_method(path) in known)
    }


def _of_method(path: str) -> str | None:
    """The last name of the path of a setting of a method; None for others."""
    return path.rpartition(".")[2] if path.startswith("method.") else None
