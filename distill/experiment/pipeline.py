"""A run as stages: preflight, teacher, baseline, student, evaluation, report."""

import copy
import dataclasses
import json
import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.config import build
from distill.config.instantiate import kind_of
from distill.config.preparation import check_augment, statistics_of
from distill.config.recipe import recipe
from distill.config.run_config import RunConfig, check_names, parse
from distill.data import Source
from distill.data.language.source import LanguageSource
from distill.data.module import student_samples, without_classes
from distill.data.unlabeled import with_unlabeled
from distill.devices import allow_tf32
from distill.errors import SettingError
from distill.experiment import preflight
from distill.experiment.directory import check_processes, check_unused, find_own_code, load_config, save_config
from distill.experiment.finished import keep_networks
from distill.experiment.lock import held
from distill.experiment.provenance import note_start
from distill.experiment.resume import AUTO, has_trained, is_of, resumed
from distill.experiment.run import Run
from distill.experiment.scoring import doubt, evaluate
from distill.experiment.shared import COUNTS, shared, take_over
from distill.experiment.sweep import in_a_sweep, sweep_directory
from distill.files import remove_leftovers
from distill.log import forget_what_was_said, log_to, only_warnings
from distill.methods import Supervised
from distill.models.network import Network
from distill.report import write_report
from distill.seeding import seed_torch
from distill.signals import leave_on_signals
from distill.tasks.base import check_method
from distill.tasks.requirements import check_without_labels
from distill.teachers import Teacher
from distill.training.launch import launch, processes_to_start
from distill.training.out_of_memory import advice_where_memory_runs_out
from distill.training.peers import Peers
from distill.training.stats import StageStats

log = logging.getLogger("distill")


def run(composed: DictConfig, directory: Path) -> float | None:
    """The main job, in as many processes as the trainer asks for.

    Args:
        composed: what configs/train.yaml composes.
        directory: where everything is written; with `resume`, that run's directory counts instead.

    Returns:
        The student's score by the task's metric on the validation split, for sweepers; None where nothing was to be
        trained.

    Raises:
        SettingError: before anything is trained, if a setting cannot work.
    """
    started = time.perf_counter()
    left_out: list[str] = []
    goes_on = composed.get("resume") is not None
    if composed.get("resume") == AUTO:  # and lock.Directories has found none beside `directory`
        goes_on = has_trained(directory) and is_of(composed, directory)
        what = "goes on with" if goes_on else "no unfinished run of this configuration was found; a new one starts in"
        print(f"resume=auto: {what} {directory}", flush=True)
        composed.resume = str(directory) if goes_on else None
    if goes_on:
        directory = Path(composed.resume)
        composed, left_out = resumed(composed, directory, _overrides())
    else:
        check_names(composed)
    config = parse(composed)
    if config.run.show is not None:
        only_warnings()
        preflight.show_layers(load(config, directory), config.run.show)
        return None
    with held(directory, "resume" if goes_on else "hydra.run.dir"), _advice_where_memory_runs_out(config):
        if not goes_on:
            forget_what_was_said(directory)
        remove_leftovers(directory)
        log_to(directory / "train.log")
        if left_out:
            log.warning(f"resume={directory}: goes on with its own settings; not taken up: {', '.join(left_out)}")
        prepared = prepare(config, directory)
        if goes_on:
            check_processes(directory, prepared.hardware.world_size, config.trainer.own.devices)
        networks = preflight.check_networks(prepared)
        prepared = preflight.settle_arithmetic(prepared, networks)
        if not goes_on:
            check_unused(prepared.config.values, directory)
        save_config(prepared.config.values, directory, prepared.hardware.world_size)
        note_start(directory, _overrides(), one_of_several=in_a_sweep())
        return _examine_and_train(prepared, networks, started)


def _advice_where_memory_runs_out(config: RunConfig) -> AbstractContextManager[None]:
    trainer = config.trainer.own
    return advice_where_memory_runs_out(config.data.own.batch_size, trainer.accumulate_grad_batches, config.precision)


def _examine_and_train(prepared: Run, networks: dict[str, Network], started: float) -> float | None:
    config, directory = prepared.config, prepared.directory
    processes = processes_to_start(prepared.hardware)
    prepared.teacher(preflight.spare(networks["teacher"])).check(build.method(config.method))
    look = preflight.examine if config.run.preflight else preflight.print_tapped_layers
    look(prepared, {role: preflight.spare(network) for role, network in networks.items()})
    if config.run.preflight == "only":
        return None
    for network in networks.values():
        network.cpu()  # from where spare ones took the weights that they share
    if processes:
        if jobs := sweep_directory():
            for stage in COUNTS:  # several processes don't wait for another job's
                take_over(stage, config.values, directory, jobs)
        networks.clear()  # each process builds its own
        launch(run_as_one_of_many, directory, processes)
    else:
        if Peers.met:
            Peers.met.start(directory)
        run_stages(prepared, networks, started)
    summary = json.loads((directory / "summary.json").read_text())
    return float(summary["student"]["score"])


def _overrides() -> list[str]:
    """What the command says, where there is one."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def run_as_one_of_many(directory: Path) -> None:
    """The stages of the run whose config.yaml lies in `directory`, in one process of several; the first one writes."""
    started = time.perf_counter()
    prepared = prepare_as_one_of_many(directory, "train.log")
    with _advice_where_memory_runs_out(prepared.config):
        run_stages(prepared, prepared.networks(), started)


def prepare_as_one_of_many(directory: Path, log_file: str) -> Run:
    """The run whose config.yaml lies in `directory`, in one process of several, of which the first one logs."""
    if Peers.met is None:
        leave_on_signals()
        # A spawned process would spawn its data workers too, which would each import everything again.
        multiprocessing.set_start_method(None, force=True)  # the platform's own
    if Peers.met is None and os.environ["RANK"] == "0":
        log_to(directory / log_file)
    else:
        logging.disable()
        warnings.simplefilter("ignore")
    find_own_code(directory, "run")
    return prepare(parse(load_config(directory, "run")), directory)


def prepare(config: RunConfig, directory: Path) -> Run:
    """Build and check every part but the networks once; nothing is kept but the data."""
    allow_tf32(config.trainer.own.tf32)
    method = build.method(config.method)
    build.trainer(config.trainer, logger=False)
    for stage in ("student", "teacher"):
        recipe(config, stage)
    loaded = load(config, directory)
    names = [f"method.{name!s}" for name in config.method]
    check_method(loaded.source.task, method, names)
    if config.data.own.unlabeled is not None:
        check_without_labels(method, names)
    _check_on_policy(loaded)
    for name in ("teacher", "student"):
        build.label_loss(config.run, loaded.source.task, loaded.stage(name).data().shown())
    return loaded


def _check_on_policy(run: Run) -> None:
    """Raise SettingError where a student is to write texts, and there are none, or answers to the data are kept."""
    fraction = run.config.on_policy.fraction
    if not fraction:
        return
    if not isinstance(run.source, LanguageSource):
        raise SettingError(
            f"on_policy.fraction={fraction:g}: is for language models, which write texts; {run.source.name} has "
            f"{run.source.noun} for {run.source.task.name}; must be 0"
        )
    if kind_of(run.config.teaching.target, "teaching", Teacher).keeps_answers:
        raise SettingError(
            f"on_policy.fraction={fraction:g}: what the student writes is new in each step, and teaching=cached keeps "
            "answers to the data: use teaching=live"
        )


def load(config: RunConfig, directory: Path) -> Run:
    """The data, and what is known of it, without a look at how networks will be trained."""
    data = config.data.own
    source = build.source(config.data.target)
    source.task.check_told_apart(source.name, source.train.targets, source.class_names)
    if source.task.moves:
        for stage in ("student", "teacher"):
            config.augment_of(stage).check_moves()
    source.task.check_measurable(source.name, source.val.targets)
    for stage in ("student", "teacher"):
        check_augment(config.augment_of(stage), source)
    statistics = statistics_of(source, data)
    samples = student_samples(source.task.strata(source.train.targets), data.student_fraction, config.run.seed)
    if data.student_without:
        samples = without_classes(samples, source.train.targets, _excluded(source, data.student_without))
    transfer = source
    if data.unlabeled is not None:
        transfer = with_unlabeled(source, data.unlabeled)
        note = f"{transfer.unlabeled:,} images without labels for the student, below {data.unlabeled}"
        source = dataclasses.replace(source, notes=[*source.notes, note])
    return Run(config, directory, source, samples, statistics, transfer)


def _excluded(source: Source, classes: Sequence[int | str]) -> list[int]:
    """The numbers of classes that `data.student_without` names, by name or number."""
    setting = f"data.student_without={list(classes)}"
    if "a class for each sample" not in source.task.traits:
        raise SettingError(
            f"{setting}: needs a class for each sample, which {source.task.name} data has not; must be []"
        )
    names = [str(name) for name in source.class_names]
    numbers = []
    for wanted in classes:
        if str(wanted) in names:
            numbers.append(names.index(str(wanted)))
        elif isinstance(wanted, int) and 0 <= wanted < len(names):
            numbers.append(wanted)
        else:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise SettingError(f"{setting}: {source.name} has no class {wanted!r}; must be among {known}")
    return numbers


def run_stages(prepared: Run, networks: dict[str, Network], started: float) -> None:
    """Train, evaluate, report. In a process group every process trains, and the first one does the rest.

    Args:
        prepared: the run.
        networks: that it starts from, by role; each leaves this when its stage is over.
        started: when the run began, by `time.perf_counter`.
    """
    config, directory = prepared.config, prepared.directory
    source = prepared.source
    log.info(
        f"{source.name}: {len(source.train)} training {source.noun}, of which the student sees "
        f"{len(prepared.samples)}; {len(source.val)} validation {source.noun}"
    )
    records: dict[str, StageStats] = {}
    teacher = networks.pop("teacher")
    jobs = sweep_directory()
    if not teacher.trained:
        with shared("teacher", config.values, directory, jobs):
            teacher, records["teacher"] = prepared.stage("teacher").train(teacher, None, Supervised())
        doubt(prepared, "teacher", teacher)
    ends = {"teacher": teacher}
    if config.run.baseline:
        stage, student = prepared.stage("baseline"), copy.deepcopy(networks["student"])
        with shared("baseline", config.values, directory, jobs):
            ends["baseline"], records["baseline"] = stage.train(student, None, Supervised())
    answering = teacher
    for name in prepared.assistants:
        answering, records[name] = distill(prepared, name, networks.pop(name), answering)
        doubt(prepared, name, answering)
    ends["student"], records["student"] = distill(prepared, "student", networks.pop("student"), answering)
    started -= sum(record.earlier for record in records.values())  # times count all attempts
    if int(torch.distributed.get_rank() if torch.distributed.is_initialized() else 0) == 0:
        results = evaluate(prepared, ends, records, started)
        scores = {name: results.validation.scores(name) for name in ends}
        keep_networks(directory, ends, source, scores, config.teacher.own.checkpoint)
        write_report(results, config.values, directory)


def distill(prepared: Run, name: str, network: Network, answering: Network) -> tuple[Network, StageStats]:
    """The stage of the student, or of an assistant: a network that another one, which answers, teaches."""
    config = prepared.config
    seed_torch(config.run.seed, "method", "weights")
    method = build.method(config.method)
    teacher = prepared.teacher(answering) if method.needs_teacher else None
    return prepared.stage(name).train(network, teacher, method)
