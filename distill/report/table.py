"""The table at the end of a run."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distill.report.results import Results
from distill.tasks import Task

BESIDE = ("agreement", "calibration error", "parameters", "FLOPs", "latency", "images/s")
ONLY_ON_THE_PAGE = ("calibration error", "images/s")  # a terminal of 80 columns has no room for them


def columns(results: Results) -> list[str]:
    """The heads of the table's columns."""
    task = results.task
    return ["", "network", task.metric.words, *(["test"] if results.test else []), *task.columns, *BESIDE]


def rows(results: Results) -> list[list[str]]:
    """The table's cells as text, one row a network, columns as `columns` says."""
    table = []
    for stage, result in results.stages.items():
        split, task = results.validation, results.task
        agreement, ece = split.value(stage, "agreement"), split.value(stage, "ece")
        rate = result.record.images_per_second if result.record else None
        table.append(
            [
                stage,
                result.network,
                _shown(task, split.score(stage)),
                *([_shown(task, results.test.score(stage))] if results.test else []),
                *(_share(split.value(stage, name)) for name in task.columns.values()),
                "" if agreement is None else f"{agreement:.1%}",
                "-" if ece is None else f"{ece:.3f}",
                short(result.parameters),
                short(result.flops),
                f"{result.speed.latency_ms.median:.2f} ms",
                "" if rate is None else f"{rate:,.0f}",
            ]
        )
    return table


def _shown(task: Task, score: float | None) -> str:
    return "-" if score is None else task.metric.shown(score)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def short(count: float) -> str:
    """1234567 as '1.23 M'."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return str(int(count))


def print_table(results: Results, directory: Path) -> None:
    """Print the table, the verdict, and where the rest lies."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{', '.join(results.method)} on {results.data}, seed {results.seed}",
        title_justify="left",
        caption=None if results.precision.startswith("32") else f"scored in float32; trained in {results.precision}",
        caption_justify="left",
    )
    heads = columns(results)
    left_out = (*ONLY_ON_THE_PAGE, *results.task.columns, *(["FLOPs"] if results.test else []))
    shown = [place for place, head in enumerate(heads) if head not in left_out]
    for place in shown:
        style = "bold" if place == 0 else ""
        table.add_column(heads[place], justify="left" if place < 2 else "right", style=style, no_wrap=True)
    for row in rows(results):
        table.add_row(*(row[place] for place in shown))
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print()
    console.print(table)
    console.print(results.verdict(), highlight=False)
    for warning in results.warnings:
        console.print(f"WARNING: {warning}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nreport       {directory / 'report.html'}", highlight=False, soft_wrap=True)
    if (directory / "tensorboard").is_dir():
        console.print(f"TensorBoard  tensorboard --logdir {directory / 'tensorboard'}", highlight=False, soft_wrap=True)
    console.print(f"student      {directory / 'student.safetensors'}", highlight=False, soft_wrap=True)
