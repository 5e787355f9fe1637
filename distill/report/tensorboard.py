"""What TensorBoard shows beside the curves: the configuration, the final figures, the pictures, a loaded teacher."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from distill.report.content import Drawing
from distill.report.results import Results
from distill.tasks.base import Metric
from distill.training.stats import StageStats


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
            writer.add_figure(drawing.name, drawing.figure, global_step=steps, close=False)
        final = _final(results)
        for summary in hparams(_flat(config), final):
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
                    writer.add_scalar("val/ce", results.validation.networks[name].label_loss, step)


def _final(results: Results) -> dict[str, float]:
    """Under the names of the validation curves."""
    values = {**results.validation.networks["student"].values, "gain_points": results.validation.gain_points}
    if results.test and (score := results.test.score("student")) is not None:
        values[f"test/{results.task.metric.name}"] = score
    return {
        name if name.startswith("test/") else f"val/{name}": float(value)
        for name, value in values.items()
        if value is not None
    }


def _flat(config: Any, prefix: str = "") -> dict[str, bool | int | float | str]:
    values: dict[str, bool | int | float | str] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            values |= _flat(value, f"{path}.")
        else:
            values[path] = value if isinstance(value, bool | int | float | str) else str(value)
    return values
