"""A finished run scored again, or on other data."""

import csv
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from distill.config import build
from distill.config.nodes import node, read, without
from distill.config.settings import DataSettings, EvaluationSettings, TrainerSettings
from distill.data.folders import listed
from distill.data.language.tokenizer import fingerprint, tokenizer_of
from distill.data.parts import relabelled, wanted
from distill.data.source import ImageSource, Part, Source
from distill.data.split import Split
from distill.data.stream import Stream
from distill.data.token_format import TokenFormat
from distill.data.token_source import TokenSource
from distill.devices import allow_tf32
from distill.errors import SettingError
from distill.experiment.finished import FinishedRun, load_run
from distill.experiment.further_scores import Asking, calibrations, corrupted_scores, corruption_kinds, speed_of
from distill.experiment.network_predictions import Predictions, predict_split
from distill.experiment.preflight.networks import check_network
from distill.experiment.split_evaluation import SplitEvaluation
from distill.files import write_atomically, write_text
from distill.log import only_warnings

log = logging.getLogger(__name__)

MOST_CLASSES = 20  # that are printed one by one


def evaluate_run(config: DictConfig) -> dict[str, dict[str, float | None]]:
    """Score every network of a run on a validation split, print the scores and write them into its directory.

    Args:
        config: what configs/evaluate.yaml composes.

    Returns:
        By network, its scores by name.

    Raises:
        SettingError: no such run, or data of another shape or with other classes.
    """
    only_warnings()
    finished = load_run(Path(config.run), config.trust)
    allow_tf32(finished.tf32)
    settings = read(config, "", EvaluationSettings)
    split, own = settings.split, config.data is None
    source = _own_data(finished.own_data, split) if own else _other_data(config.data, finished, split)
    precision = finished.precision if settings.precision == "run" else settings.precision
    kinds = corruption_kinds(settings.corruptions, source)
    hardware = build.hardware(node(config.trainer, "trainer", TrainerSettings), precision)
    networks = finished.networks()
    for name, network in networks.items():
        check_network(network, name, source)
    asked = {name: network for name, network in networks.items() if network.comparable}
    batch_size = finished.data.own.batch_size
    predictions = predict_split(asked, source, batch_size, hardware.device, hardware.plugin)
    file = finished.directory / f"evaluation-{source.name.replace('/', '_')}.json"
    if settings.predictions:
        table = file.with_suffix(".csv") if settings.predictions is True else Path(settings.predictions)
        found = _written(table, source, predictions)
    else:
        found = SplitEvaluation(source, predictions)
    scores = {name: evaluation.scored().known() for name, evaluation in found.networks.items()}
    about = {"data": source.name, source.noun: found.networks["student"].count, "precision": precision, **scores}
    if calibration := calibrations(found):
        about["calibration"] = calibration
    if settings.speed:
        about["speed"] = speed_of(asked, source, batch_size)
    if kinds:
        asking = Asking(asked, batch_size, hardware.device, hardware.plugin)
        about["corruptions"] = corrupted_scores(source, kinds, asking)
    classes = found.by_class()
    text = json.dumps({**about, "classes": classes}, indent=2)
    write_text(file, text + "\n")
    print(text if len(classes) <= MOST_CLASSES else json.dumps({**about, "classes": f"in {file}"}, indent=2))
    return scores


def _written(table: Path, source: Source, predictions: Iterator[Predictions]) -> SplitEvaluation:
    """The evaluation, while a line for each image goes to a CSV file: its name, and what labels and networks say."""
    found: list[SplitEvaluation] = []

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(["name", *source.task.compared_columns(source.class_names)])
            found.append(SplitEvaluation(source, _told(predictions, source, writer.writerows)))

    write_atomically(table, write)
    return found[0]


def _told(
    predictions: Iterator[Predictions], source: Source, write: Callable[[list[list[str]]], Any]
) -> Iterator[Predictions]:
    """The same predictions, whose lines are written as they go by."""
    for batch in predictions:
        student, teacher = batch.logits["student"], batch.logits.get("teacher")
        rows = source.task.compared(student, teacher, batch.targets, source.class_names)
        write([[source.val.name(i), *row] for i, row in zip(batch.indices.tolist(), rows, strict=True)])
        yield batch


def _own_data(data: DictConfig, split: Part | None) -> Source:
    """The data that the run was trained on, with the split that is to be scored as the validation split."""
    try:
        source = build.source(data)
    except SettingError as error:
        raise SettingError(
            f"data: what the run was trained on cannot be read here ({error}); name what to score it on, such as "
            "data=image_folder data.root=DIR"
        ) from error
    return _with_split(source, split)


def _other_data(config: DictConfig, finished: FinishedRun, split: Part | None) -> Source:
    """Other samples, as those that the run was trained on: images at their size, texts as tokens of its tokenizer."""
    if isinstance(finished.student.format, TokenFormat):
        return _other_texts(config, finished, finished.student.format, split)
    return _other_images(config, finished, split)


def _other_texts(config: DictConfig, finished: FinishedRun, form: TokenFormat, split: Part | None) -> TokenSource:
    """Other texts; what is not said of them is as in the run's."""
    known, task = finished.student, finished.task
    own: dict[str, Any] = {
        "tokenizer": form.tokenizer or None,
        "gguf_file": form.gguf_file,
        "max_length": form.max_length,
    }
    if "labels" in config and config.labels == "auto":
        own |= {"classes": list(known.classes)} if task.has_classes else {"labels": "number"}
    for setting, value in own.items():
        if setting in config and config[setting] in (None, "auto"):
            config[setting] = value
    source = _with_split(build.source(without(config, DataSettings), only=split or "any"), split)
    if not isinstance(source, TokenSource) or source.task != task:
        raise SettingError(
            f"data: {source.name} has {source.noun} for {source.task.name}, and the run was trained on texts for "
            f"{task.name}; must be the same"
        )
    if fingerprint(source.tokenizer) != fingerprint(tokenizer_of(form.tokenizer or None, form.gguf_file)):
        raise SettingError(
            f"data.tokenizer={config.tokenizer}: makes other tokens than the run's; leave it out, and that is taken"
        )
    if list(source.class_names) != list(known.classes):
        raise SettingError(
            f"data.classes={listed(source.class_names)}: must be the run's, {listed(known.classes)}; leave it out"
        )
    return source


def _other_images(config: DictConfig, finished: FinishedRun, split: Part | None) -> ImageSource:
    """Other images, at the size of those that the run was trained on, unless a size is asked for."""
    known, task = finished.student, finished.task
    square = known.images.height == known.images.width
    if "image_size" in config and config.image_size is None and square:
        config.image_size = known.images.height
        if "resize" in config and config.resize is None and (known.images.resize or 0) >= known.images.height:
            config.resize = known.images.resize
    source = _with_split(build.source(without(config, DataSettings), only=split or "any"), split)
    if not isinstance(source, ImageSource):
        raise SettingError(
            f"data: {source.name} has {source.noun}, and the run was trained on images; must be the same"
        )
    if source.channels != known.images.channels:
        advice = f"data.channels={known.images.channels}" if "channels" in config else "the same"
        raise SettingError(
            f"data: {source.name} has images of {source.channels} channels, and the run was trained on {known.data} "
            f"with {known.images.channels}; must be {advice}"
        )
    if source.task != task:
        fix = (
            f"data.several_labels={str('exclusive classes' not in task.traits).lower()}"
            if "several_labels" in config
            else "the same"
        )
        raise SettingError(
            f"data: {source.name} has labels for {source.task.name}, and the run was trained for {task.name}; must be "
            f"{fix}"
        )
    numbers = torch.tensor(run_classes(source.class_names, known.classes, source.name))
    targets = task.renumbered(source.val.targets, numbers, len(known.classes))
    task.check_measurable(source.name, targets)
    images: dict[Part, Split | Stream] = {"val": relabelled(source.val, targets)}
    return ImageSource.of(source.name, images, known.classes, source.resize, task=task, letterbox=source.letterbox)


def _with_split(source: Source, split: Part | None) -> Source:
    """The source with a split in the place of the validation split."""
    if split is None:
        return source
    samples = wanted(source.parts, split, f"data {source.name}")[split]
    return dataclasses.replace(source, name=f"{source.name}-{split}", val=samples)


def run_classes(names: Sequence[str], known: Sequence[str], data: str) -> list[int]:
    """For each class of other data, the number that the run knows it by.

    Args:
        names: the classes of the data, which may be some of the run's, in any order.
        known: the run's.
        data: name of the data, for messages.

    Raises:
        SettingError: classes that the run doesn't know.
    """
    numbers = {name: number for number, name in enumerate(known)}
    unknown = [name for name in names if name not in numbers]
    if not unknown:
        return [numbers[name] for name in names]
    unnamed = [*map(str, range(len(names)))]  # as classes are called of which numbers alone are known
    if [*names] == unnamed and len(names) <= len(known):
        told = f"{data} has no names for its classes"
    elif [*known] == [*map(str, range(len(known)))] and len(names) == len(known):
        told = f"the run was trained without names for its classes, and {data} has such as {unknown[0]}"
    else:
        raise SettingError(
            f"data: {data} has classes that the run doesn't know: {listed(unknown)}; its classes are {listed(known)}"
        )
    log.warning("%s: scores say something only if the classes mean the same in the same order", told)
    return [*range(len(names))]
