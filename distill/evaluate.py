"""A finished run scored again, or on other data."""

import dataclasses
import json
import logging
from pathlib import Path

from omegaconf import DictConfig

from distill import build
from distill.answers import answer
from distill.data.source import ImageSource
from distill.errors import SettingError
from distill.files import write_text
from distill.finished import NetworkRecord, load_run
from distill.log import only_warnings
from distill.metrics import score

log = logging.getLogger(__name__)


def evaluate_run(config: DictConfig) -> dict[str, dict[str, float | None]]:
    """Score every network of a run on a validation split, print the scores and write them into its directory.

    Args:
        config: what configs/evaluate.yaml composes.

    Returns:
        By network, the fields of `distill.metrics.Scores`.

    Raises:
        SettingError: no such run, or data of another shape or with other classes.
    """
    only_warnings()
    directory = Path(config.run)
    finished = load_run(directory)
    source = _own_data(finished.config) if config.data is None else _other_data(config.data, finished.student)
    device = build.trainer(config.trainer, logger=False).strategy.root_device
    batch_size = finished.config.data.batch_size
    answers = {name: answer(network, source, batch_size, device) for name, network in finished.networks().items()}
    teacher = answers["teacher"].logits if "teacher" in answers else None
    scores = {
        name: dataclasses.asdict(score(given.logits, given.targets, None if name == "teacher" else teacher))
        for name, given in answers.items()
    }
    text = json.dumps({"data": source.name, "images": len(answers["student"].targets), **scores}, indent=2)
    write_text(directory / f"evaluation-{source.name}.json", text + "\n")
    print(text)
    return scores


def _own_data(config: DictConfig) -> ImageSource:
    """The images that the run was trained on."""
    try:
        return build.source(config.data)
    except SettingError as error:
        raise SettingError(
            f"data: what the run was trained on cannot be read here ({error}); name what to score it on, such as "
            "data=image_folder data.root=DIR"
        ) from error


def _other_data(config: DictConfig, known: NetworkRecord) -> ImageSource:
    """Other images, at the size of those that the run was trained on, unless a size is asked for."""
    if config.get("image_size", known.images.height) is None:
        config.image_size = known.images.height
    source = build.source(config)
    if (source.num_classes, source.channels) != (len(known.classes), known.images.channels):
        raise SettingError(
            f"data: {source.name} has {source.num_classes} classes and {source.channels} channels, and the run was "
            f"trained on {known.data} with {len(known.classes)} and {known.images.channels}; they must be the same"
        )
    if list(source.class_names) != known.classes:
        places = zip(known.classes, source.class_names, strict=True)
        here, there = next((ours, theirs) for ours, theirs in places if ours != theirs)
        if sorted(source.class_names) == sorted(known.classes):
            raise SettingError(
                f"data: {source.name} has the run's classes in another order: {there} in place of {here}"
            )
        log.warning(
            "%s has classes of other names than %s, such as %s in place of %s: scores say something only if they mean "
            "the same in the same order",
            *(source.name, known.data, there, here),
        )
    return source
