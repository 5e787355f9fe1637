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
from distill.finished import load_run
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
    source = finished.run.source if config.data is None else _other_data(config.data, finished.run.source)
    device = build.trainer(config.trainer, logger=False).strategy.root_device
    batch_size = finished.run.config.data.batch_size
    answers = {name: answer(network, source, batch_size, device) for name, network in finished.networks.items()}
    teacher = answers["teacher"]
    scores = {
        name: dataclasses.asdict(score(given.logits, given.targets, None if name == "teacher" else teacher.logits))
        for name, given in answers.items()
    }
    text = json.dumps({"data": source.name, "images": len(teacher.targets), **scores}, indent=2)
    write_text(directory / f"evaluation-{source.name}.json", text + "\n")
    print(text)
    return scores


def _other_data(config: DictConfig, known: ImageSource) -> ImageSource:
    """Other images, at the size of those that the run was trained on, unless a size is asked for."""
    if config.get("image_size", known.image_size) is None:
        config.image_size = known.image_size
    source = build.source(config)
    if (source.num_classes, source.channels) != (known.num_classes, known.channels):
        raise SettingError(
            f"data: {source.name} has {source.num_classes} classes and {source.channels} channels, and the run was "
            f"trained on {known.name} with {known.num_classes} and {known.channels}; they must be the same"
        )
    if list(source.class_names) != list(known.class_names):
        places = zip(known.class_names, source.class_names, strict=True)
        here, there = next((ours, theirs) for ours, theirs in places if ours != theirs)
        if sorted(source.class_names) == sorted(known.class_names):
            raise SettingError(
                f"data: {source.name} has the run's classes in another order: {there} in place of {here}"
            )
        log.warning(
            "%s has classes of other names than %s, such as %s in place of %s: scores say something only if they mean "
            "the same in the same order",
            *(source.name, known.name, there, here),
        )
    return source
