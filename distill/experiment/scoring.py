"""What the networks of a run are worth: beside chance, on the validation split, and once on the test split."""

import logging
import platform
import time

import torch

from distill.experiment.advice import advise
from distill.experiment.network_predictions import predict_split, test_split
from distill.experiment.preflight.teacher import score_sample
from distill.experiment.provenance import provenance_of
from distill.experiment.run import Run
from distill.experiment.split_evaluation import SplitEvaluation
from distill.inputs import inputs_to
from distill.log import account_of, warnings_of
from distill.models import cost
from distill.models.network import Network
from distill.report import Results, StageResult
from distill.tasks.base import Metric
from distill.tasks.evaluation import Standing
from distill.training.profiling import read_profile
from distill.training.stats import StageStats
from distill.versions import installed

log = logging.getLogger(__name__)

PACKAGES = ("distill", "torch", "torchvision", "pytorch-lightning", "hydra-core")


def doubt(prepared: Run, stage: str, network: Network) -> None:
    """Warn right after the training of a network that others are to learn from, if it does no better than chance, or
    gives probabilities in place of logits."""
    task = prepared.source.task
    found, logits = score_sample(network, prepared.stage(stage).data(), prepared.hardware.device)
    warn_at_chance(stage, task.metric, found)
    if doubted := task.outputs_doubt(stage, logits, trained=True):
        log.warning(doubted)


def warn_at_chance(stage: str, metric: Metric, found: Standing) -> None:
    """Warn if a trained network does no better than a guesser who knows how frequent each class is."""
    if found.convincing:
        return
    own = stage == "teacher"
    rate, epochs = ("teacher.optimizer.lr", "teacher.max_epochs") if own else ("optimizer.lr", "trainer.max_epochs")
    log.warning(
        f"{stage} ends at {found}: its {metric.words} is not clearly better than that of a guess; change {rate}, "
        f"raise {epochs}, use class_weights=balanced where one class prevails, or check the labels"
    )


def evaluate(prepared: Run, networks: dict[str, Network], records: dict[str, StageStats], started: float) -> Results:
    """Score every network on the validation split, in float32, and measure what it costs."""
    source, config, device = prepared.source, prepared.config, prepared.hardware.device
    batch_size = config.data.own.batch_size
    comparable = {name: network for name, network in networks.items() if network.comparable}
    validation = SplitEvaluation(source, predict_split(comparable, source, batch_size, device))
    for name in ("baseline", "student"):
        if name in networks:
            warn_at_chance(name, source.task.metric, validation.standing(name))
    test = None
    if (unseen := test_split(source)) is not None:
        test = SplitEvaluation(unseen, predict_split(comparable, unseen, batch_size, device)).result("test")
        log.info(f"{source.name}: scored once on {test.count} test {source.noun}")
    sample = inputs_to(source.val.inputs(torch.tensor([0])), device)
    speeds = cost.speeds(networks, sample, batch_size)
    stages = {
        name: StageResult(
            network=network.name,
            parameters=cost.parameters(network),
            flops=cost.flops(network, sample),
            weights_bytes=cost.weights_bytes(network),
            speed=speeds[name],
            record=records.get(name),
            tokens=source.tokens,
        )
        for name, network in networks.items()
    }
    profile = read_profile(prepared.directory) if config.run.profile else None
    return Results(
        data=source.name,
        method=[str(name) for name in config.method],
        seed=config.run.seed,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})",
        precision=config.precision,
        stages=stages,
        validation=validation.result("validation"),
        shown=source.shown,
        seconds=time.perf_counter() - started,
        versions={package: installed(package) for package in PACKAGES} | {"python": platform.python_version()},
        noun=source.noun,
        unit=source.unit or source.noun,
        warnings=warnings_of(prepared.directory),
        preflight=account_of(prepared.directory),
        keep=config.run.keep,
        test=test,
        provenance=provenance_of(prepared.directory),
        profile=profile,
        advice=advise(prepared, networks["teacher"], profile) if profile else [],
    )
