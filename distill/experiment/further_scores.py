"""What an evaluation can say beside the scores of a split: calibration, speed, and scores on images that suffered."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pytorch_lightning.plugins.precision import Precision

from distill.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from distill.data.source import ImageSource, Source
from distill.errors import SettingError, suggestion
from distill.experiment.network_predictions import Change, predict_split
from distill.experiment.split_evaluation import SplitEvaluation
from distill.inputs import inputs_to
from distill.models import cost
from distill.models.network import Network


@dataclass(frozen=True, slots=True)
class Asking:
    """Which networks are asked, in batches of what size, on which device, in which precision."""

    networks: Mapping[str, Network]
    batch_size: int
    device: torch.device
    precision: Precision | None


def calibrations(found: SplitEvaluation) -> dict[str, dict[str, float]]:
    """Of each network its calibration error before and after its logits are divided by the temperature that fits."""
    scaled = {name: scaling.result() for name, scaling in found.scaling.items()}
    return {
        name: {"ece": each.calibration.error, "temperature": each.temperature, "ece_scaled": each.scaled.error}
        for name, each in scaled.items()
        if each is not None
    }


def speed_of(networks: Mapping[str, Network], source: Source, batch_size: int) -> dict[str, dict[str, float]]:
    """How fast each network answers, in its own precision on the device where it lies, as a run's summary says it."""
    device = next(networks["student"].parameters()).device
    sample = inputs_to(source.val.inputs(torch.tensor([0])), device)
    found = cost.speeds(networks, sample, batch_size)
    return {name: {"latency_ms": speed.latency_ms.median, **speed.summary()} for name, speed in found.items()}


def corruption_kinds(asked: bool | Sequence[str], source: Source) -> list[str]:
    """The kinds of corruptions that are asked for.

    Raises:
        SettingError: a kind that there is not, or samples that are no images.
    """
    kinds = list(CORRUPTIONS if asked is True else asked or [])
    for kind in kinds:
        if kind not in CORRUPTIONS:
            raise SettingError(f"corruptions={kind}: there is no such kind{suggestion(kind, CORRUPTIONS)}")
    if kinds and not isinstance(source, ImageSource):
        raise SettingError(f"corruptions={kinds}: are of images, and {source.name} has {source.noun}; must be false")
    return kinds


def corrupted_scores(source: Source, kinds: Sequence[str], asking: Asking) -> dict[str, Any]:
    """For each kind and network the task's metric by severity, '1', '3' and '5', and their 'mean'."""
    found = {kind: _by_severity(source, kind, asking) for kind in kinds}
    means = {name: _mean(scores[name]["mean"] for scores in found.values()) for name in asking.networks}
    return {**found, "mean": means}


def _by_severity(source: Source, kind: str, asking: Asking) -> dict[str, dict[str, float | None]]:
    metric = source.task.metric.name
    scores: dict[str, dict[str, float | None]] = {name: {} for name in asking.networks}
    for severity in SEVERITIES:
        change: Change = partial(corrupt, kind, severity=severity)
        asked = predict_split(asking.networks, source, asking.batch_size, asking.device, asking.precision, change)
        for name, evaluation in SplitEvaluation(source, asked).networks.items():
            scores[name][str(severity)] = evaluation.scored().values[metric]
    return {name: {**values, "mean": _mean(values.values())} for name, values in scores.items()}


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None
