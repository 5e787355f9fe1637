"""What the report of a run says, in order, whatever the task: what depends on the task is asked of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from distill.models.cost import Spread
from distill.report import figures, pictures
from distill.report.content import Block, Cell, Drawings, Lines, Report, Section, Table, Text
from distill.report.results import Results
from distill.report.table import columns, rows, short

PARTS = {
    "data": "waiting for the batch, and making it",
    "teacher": "its answers",
    "student": "forward pass",
    "method": "losses",
    "backward": "gradients",
    "optimizer": "new weights, learning rate",
    "logging": "values of single steps",
    "rest": "scores of the batch, what Lightning does",
}
MOST_CLASSES = 500  # in a table, the worst and the best
MOST_PAIRS = 20


def report_of(results: Results, config: Mapping[str, Any]) -> Report:
    """The whole report of a run with this configuration."""
    metric, gain = results.task.metric, results.judged.gain
    headline = None
    if gain is not None:
        number, _, unit = metric.difference(gain.value).partition(" ") if metric.percent else ("", "", "")
        headline = (number or f"{gain.value:+.3g}", unit or metric.words)
    networks = (results.stages["teacher"].network, results.stages["student"].network)
    method = " + ".join(results.method)
    return Report(
        title=" → ".join(networks),
        facts=f"{method} on {results.data} · seed {results.seed} · {results.device} · {results.precision} · "
        f"{results.seconds:.0f} s in all",
        headline=headline,
        verdict=results.verdict(),
        sections=[section for section in _sections(results, config) if section.blocks],
        footer=" · ".join(f"{name} {number}" for name, number in results.versions.items()),
    )


def _sections(results: Results, config: Mapping[str, Any]) -> Iterator[Section]:
    yield Section("warnings", "Warnings", [Text(warning, quiet=False) for warning in results.warnings])
    yield Section("networks", "What you would ship", _shipped(results))
    yield Section("learning", "Learning", _learning(results))
    yield Section("classes", "Gain and loss by class", _classes(results))
    yield Section("confusion", "Student against teacher", _confusion(results))
    yield Section("calibration", "Calibration", _calibration(results))
    yield Section("differences", "Disagreements", _differences(results))
    yield Section("time", "Time", [*_stages(results), *_profile(results)])
    yield Section("reading", "How to read this", [Text(_reading(results), quiet=False)])
    yield Section("preflight", "Before training", [Lines("\n".join(results.preflight))] if results.preflight else [])
    yield Section("reproduce", "How to get this again", _origin(results, config))


def _shipped(results: Results) -> list[Block]:
    found = next(iter(results.stages.values())).speed
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    heads = ["", "latency", "8 of 10", f"samples/s, batch {found.batch_size}", "8 of 10", "weights"]
    speeds = [
        [
            name,
            *_cells(stage.speed.latency_ms, "{:.2f}", " ms"),
            *_cells(stage.speed.per_second, "{:,.0f}"),
            _bytes(stage.weights_bytes),
        ]
        for name, stage in results.stages.items()
    ]
    measured = (
        f"Measured in float32 on {results.device} with {threads}, the networks in turns; latency is of one sample. "
        "8 of 10: the middle eight of ten measurements lie there. FLOPs are of one sample, two for each "
        "multiply-add. What a second holds is of training."
    )
    drawing = figures.shipped(results)
    blocks: list[Block] = [Table("Scores on the validation split, and cost", columns(results), rows(results), words=2,
                                 networks=True)]  # fmt: skip
    if drawing is not None:
        blocks.append(Drawings([drawing]))
    return [*blocks, Table("Speed of the answers", heads, speeds, networks=True), Text(measured)]


def _cells(spread: Spread, form: str, unit: str = "") -> list[str]:
    median, low, high = map(form.format, (spread.median, spread.low, spread.high))
    return [median + unit, f"{low} to {high}"]


def _bytes(count: int) -> str:
    return f"{short(count).rstrip()}{'' if count >= 1000 else ' '}B"


def _learning(results: Results) -> list[Block]:
    record = results.stages["student"].record
    history = record.history if record else []
    drawn = [figures.curves(results), figures.losses(results), figures.terms(history), figures.gradients(history)]
    return [Drawings([drawing for drawing in drawn if drawing is not None])]


def _classes(results: Results) -> list[Block]:
    split, metric = results.validation, results.task.metric
    if not split.classes:
        return []
    networks = [name for name in results.stages if name in split.networks]
    against = "baseline" if "baseline" in networks else "teacher" if "teacher" in networks else None
    ordered = sorted(split.classes.items(), key=lambda item: _sort_key(_gain(item[1], against)))
    shown = ordered if len(ordered) <= MOST_CLASSES else ordered[: MOST_CLASSES // 2] + ordered[-MOST_CLASSES // 2 :]
    table = [
        [Cell(name, name), _cell(f"{scores['count']:,.0f}", scores["count"])]
        + [_cell(metric.shown(scores[each] or 0.0), scores[each]) for each in networks]
        + ([] if against is None else [_cell(f"{100 * (_gain(scores, against) or 0.0):+.1f}", _gain(scores, against))])
        for name, scores in shown
    ]
    heads = ["class", "samples", *networks, *([] if against is None else [f"gain over the {against}"])]
    left_out = len(ordered) - len(shown)
    said = f" The {left_out:,} in the middle are left out." if left_out else ""
    caption = f"Each class of the validation split; gains in points, the greatest loss first.{said}"
    return [Table(caption, heads, table, sortable=True)]


def _gain(scores: Mapping[str, float | None], against: str | None) -> float | None:
    ours, theirs = scores["student"], scores[against] if against else None
    return None if ours is None or theirs is None or (ours - theirs) != (ours - theirs) else ours - theirs


def _sort_key(value: float | None) -> float:
    return float("inf") if value is None else value


def _cell(text: str, value: float | None) -> Cell:
    return Cell("-", None) if value is None or value != value else Cell(text, value)


def _confusion(results: Results) -> list[Block]:
    split = results.validation
    both = split.side_by_side
    if both is None:
        return []
    matrix = figures.confusion(split)
    blocks: list[Block] = [Drawings([*([matrix] if matrix else []), *figures.by_confidence(split)])]
    pairs = [
        [
            Cell(name := split.class_names[teacher], name),
            Cell(other := split.class_names[student], other),
            Cell(f"{count:,}", count),
            *(Cell(f"{right:,}", right) for right in both.right[teacher, student]),
        ]
        for (teacher, student), count in both.apart[:MOST_PAIRS]
    ]
    if pairs:
        heads = ["the teacher says", "the student says", "times", "teacher right", "student right"]
        caption = f"The most frequent pairs, of {both.count:,} decisions that were looked at"
        blocks.append(Table(caption, heads, pairs, sortable=True, words=2))
    return blocks


def _calibration(results: Results) -> list[Block]:
    split = results.validation
    drawn = [figures.reliability(results, stage) for stage in results.stages if _answers(results, stage)]
    lines = [figures.thresholds(results, stage) for stage in results.stages if stage in split.networks]
    table = [
        [
            name,
            f"{scaled.temperature:.2g}",
            f"{scaled.calibration.error:.3f}",
            f"{scaled.scaled.error:.3f}",
            f"{scaled.loss:.3f}",
            f"{scaled.scaled_loss:.3f}",
        ]
        for name, scaled in split.scaled.items()
    ]
    heads = ["", "best temperature", "calibration error", "scaled", "negative log-likelihood", "scaled"]
    caption = (
        "Before and after the logits are divided by a temperature. Each half of the validation split is scaled by the "
        "temperature that fits the other half."
    )
    found = [drawing for drawing in lines if drawing is not None]
    blocks: list[Block] = [Drawings(drawn)] if drawn else []
    blocks += [Table(caption, heads, table, networks=True)] if table else []
    return blocks + ([Drawings(found)] if found else [])


def _answers(results: Results, stage: str) -> bool:
    known = results.validation.networks
    return stage in known and bool(known[stage].calibration.count.sum())


def _differences(results: Results) -> list[Block]:
    found = results.validation.disagreements
    return [] if found is None else [Drawings([pictures.drawn(results, found)])]


def _stages(results: Results) -> list[Block]:
    trained = {name: stage.record for name, stage in results.stages.items() if stage.record is not None}
    known = sum(record.seconds for record in trained.values())
    lines = [
        [name, f"{record.seconds:.1f} s", f"{len(record.history):,}", f"{record.steps:,}",
         "" if record.images_per_second is None else f"{record.images_per_second:,.0f}"]
        for name, record in trained.items()
    ]  # fmt: skip
    rest = [["all the rest", f"{max(0.0, results.seconds - known):.1f} s", "", "", ""]]
    heads = ["", "time", "epochs", "steps", f"{results.noun}/s in training"]
    return [Table("Time by stage", heads, [*lines, *rest], networks=True)]


def _profile(results: Results) -> list[Block]:
    profile = results.profile
    if profile is None:
        return []
    parts = [
        [part, PARTS[part], f"{profile.milliseconds[part]:.2f} ms", f"{100 * share:.1f}%"]
        for part, share in profile.shares.items()
    ]
    said = f"Means over {profile.steps} steps of the first process, after the first few."
    if profile.traced:
        said += (
            f" trace.json in the run's directory shows {profile.traced} more, call by call; ui.perfetto.dev and "
            "chrome://tracing open it."
        )
    table = Table("Where the time goes", ["part", "of a training step of the student", "time", "share"],
                  [*parts, ["step", "", f"{profile.total:.2f} ms", ""]], words=2)  # fmt: skip
    return [table, Text(" ".join(results.advice), quiet=False), Text(said)]


def _reading(results: Results) -> str:
    test = ""
    if results.test:
        count = f"{results.test.count:,} {results.noun}"
        test = f" The test split ({count}) was scored once, at the end; the gain is measured on it."
    return (
        f"Scores are measured on the validation split ({results.validation.count:,} {results.noun}), in float32.{test} "
        "Agreement is the share of answers that student and teacher give alike. The gain compares the student with the "
        "baseline: the same network, first weights, data and schedule, without the teacher. Its 95 % interval "
        "(bootstrap) and its paired test are about other samples, not about other seeds: run several seeds and compare "
        "them before you believe a small gain."
    )


def _origin(results: Results, config: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    facts = {"seed": str(results.seed), "precision": results.precision}
    if (origin := results.provenance) is not None:
        blocks.append(Lines("\n".join(origin.commands)))
        commits = {f"commit of {whose}": commit for whose, commit in origin.commits.items()}
        facts = {"in": origin.directory, **facts, **commits, **origin.machine}
    facts |= results.versions
    table = Table("The run, the machine, versions", ["", ""], [list(item) for item in facts.items()], words=2)
    return [*blocks, table, Lines(OmegaConf.to_yaml(config), "every setting of this run")]
