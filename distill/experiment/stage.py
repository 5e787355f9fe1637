"""One stage of a run: a network trained from its seed to its weights file, or taken up where it was left."""

import copy
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from distill.config import build
from distill.config.loggers import logger as logger_of
from distill.config.recipe import Recipe, recipe
from distill.config.run_config import RunConfig
from distill.data import DataModule, Source
from distill.errors import SettingError, first_line
from distill.experiment.finished import check_kept
from distill.files import write_text
from distill.inputs import inputs_to
from distill.methods import Method
from distill.models.checkpoint import load_weights
from distill.models.metadata import metadata
from distill.models.network import Network
from distill.models.weights_file import save_weights
from distill.seeding import seed_torch
from distill.teachers import LiveTeacher, Teacher
from distill.training.averaging import Averaging
from distill.training.best_epoch import Watch
from distill.training.callbacks import Elapsed, StageProgress, Throughput
from distill.training.checkpoint_files import CheckpointFiles, newest_whole, step_of
from distill.training.checkpointing import StepCheckpoint
from distill.training.compiling import Choice, Work, choice_for, compile_network, release
from distill.training.data_watch import DataWatch
from distill.training.failing_setting import setting_at_work
from distill.training.module import DistillModule
from distill.training.out_of_memory import is_out_of_memory
from distill.training.profiling import Profiling
from distill.training.sharding import FSDP, check_shared_out, whole_weights
from distill.training.stats import StageStats

log = logging.getLogger(__name__)

GENTLE = "a hundredth of optimizer.lr, for its weights are pretrained; teacher.optimizer.lr sets another"
LAST = "last.ckpt"  # what an unfinished stage goes on from
COMPARED = 32  # samples on which the teacher's fastest form is compared with itself


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage needs of its run.

    Args:
        name: 'teacher', 'baseline' or 'student'.
        config: of the run.
        directory: of the run.
        source: the data.
        samples: (S,) indices of the training samples that it may see.
        max_epochs: how long it trains.
    """

    name: str
    config: RunConfig
    directory: Path
    source: Source
    samples: torch.Tensor
    max_epochs: int

    @property
    def weights(self) -> Path:
        """The finished stage's weights."""
        return self.directory / f"{self.name}.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The unfinished stage's state."""
        return self.directory / "checkpoints" / self.name

    @property
    def finished(self) -> StageStats | None:
        """What is remembered of the stage, if it was trained to its end before."""
        file = self.checkpoints / "record.json"
        return StageStats(**json.loads(file.read_text())) if self.weights.is_file() and file.is_file() else None

    def train(self, network: Network, teacher: Teacher | None, method: Method) -> tuple[Network, StageStats]:
        """Train `network` in place and return it, or what the method deploys in its stead.

        Every process ends with the same weights. A finished stage is read from its files; an unfinished one goes on
        from its last epoch.
        """
        # Training leaves the network of a sharded run in parts.
        whole = copy.deepcopy(network) if self.config.trainer.own.strategy == FSDP else None
        module = self.module(network, teacher, method)
        record = self.finished
        if record is None:
            record = self._fit(module, whole)
        else:
            record = replace(record, earlier=record.seconds)
            rank_zero_only(print)(f"{self.name:<9} trained before", flush=True)
        deployed = whole or module.deployed
        load_weights(deployed.backbone, self.weights)
        return deployed, record

    def module(
        self, network: Network, teacher: Teacher | None, method: Method, *, optimize_for_inference: bool = True
    ) -> DistillModule:
        """What Lightning trains; its teacher in the fastest form that it has, or as it is."""
        data = self.data()
        task = self.source.task
        recipe = self.recipe(network)
        module = DistillModule(
            network,
            teacher,
            method,
            task=task,
            label_loss=build.label_loss(self.config.run, task, data.shown(), partly=self.source.unlabeled > 0),
            optimizer=recipe.optimizer,
            grouping=recipe.grouping,
            schedule=recipe.schedule,
            example=data.example(),
            labels=self._labels() if "a class for each sample" in task.traits else None,
            seed=self.config.run.seed,
            on_nonfinite=self.config.run.on_nonfinite,
            on_policy=None if teacher is None else build.on_policy(self.config, self.source),
        )
        check_kept(module.deployed)
        if self.config.trainer.own.strategy == FSDP:
            check_shared_out(module.method, deploys=module.deployed is not module.student)
        if teacher is not None and optimize_for_inference and not self.config.teacher.own.shard:
            hardware = build.hardware(self.config.trainer)
            own = teacher.to(hardware.device).network
            teacher.optimize_for_inference(
                inputs_to(data.example(COMPARED), hardware.device), str(hardware.plugin.precision)
            )
            if own is not None and own is not teacher.network:
                own.cpu()  # it is asked again only at the end
        return module

    def recipe(self, network: Network) -> Recipe:
        """How it optimises a network."""
        return recipe(self.config, self.name, pretrained=network.pretrained)

    def _labels(self) -> torch.Tensor:
        """(S,) the class of every training sample by its index; -1 for those that the stage may not see."""
        labels = torch.full_like(self.source.train.targets, -1)
        labels[self.samples] = self.source.train.targets[self.samples]
        return labels

    def data(self) -> DataModule:
        """The batches that it sees."""
        data = self.config.data.own
        return DataModule(
            self.source,
            batch_size=data.batch_size,
            augment=self.config.augment_of(self.name),
            seed=self.config.run.seed,
            augment_seed=data.augment_seed,
            replay=None if self.name == "teacher" else self.config.teaching.own.epochs,
            samples=self.samples,
            sampling=data.sampling,
            workers=data.workers,
        )

    def _fit(self, module: DistillModule, whole: Network | None) -> StageStats:
        """Train; of a network that is shared out over the processes, `whole` takes the weights in the end."""
        # The baseline is the student without the teacher: the same seed, and so the same weights to start from.
        seed_torch(self.config.run.seed, "student" if self.name == "baseline" else self.name, "training")
        throughput, elapsed, watch = Throughput(), Elapsed(), self._watch()
        last = newest_whole(self.checkpoints / LAST)
        brought = self._brought(None if last is None else step_of(last))
        trainer = self._trainer(brought, [throughput, elapsed, watch, *self._averaging()])
        log.info(f"{self.name}: {len(self.samples)} {self.source.noun}, {self.max_epochs} epochs")
        if module.teacher is not None and module.teacher.form:
            log.info(f"{self.name}: its teacher answers {module.teacher.form}")
        if (tuned := self.recipe(module.student)).gentle:
            log.info(f"{self.name}: fine-tuned at lr={tuned.rate:g} ({GENTLE})")
        self._compile(module, trainer)
        try:
            trainer.fit(module, datamodule=self.data(), ckpt_path=last, weights_only=True)
        except FloatingPointError as error:
            raise FloatingPointError(f"{self.name}: {error}") from error
        except (SettingError, OSError):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if setting := setting_at_work(error, self.config.trainer.own.gradient_clip_val, brought):
                raise SettingError(f"{setting}: {first_line(error)} (HYDRA_FULL_ERROR=1 shows where)") from error
            raise
        if module.losses.skipped:
            log.warning(
                f"{self.name}: {module.losses.skipped} of {trainer.global_step} steps were left out "
                f"(on_nonfinite=skip), the first for {module.losses.first}"
            )
        for network in self._compilable(module).values():
            release(network)
        kept = self._keep(module, watch)
        steps, rate = trainer.global_step, throughput.images_per_second
        record = StageStats(elapsed.seconds, steps, rate, module.history, kept, watch.stopped, elapsed.earlier)
        if whole is not None:
            whole.backbone.load_state_dict(whole_weights(module.deployed.backbone))
        deployed = whole or module.deployed
        if trainer.is_global_zero:
            save_weights(deployed.backbone, self.weights, metadata(deployed, self.source))
            write_text(self.checkpoints / "record.json", json.dumps(asdict(record)))
        trainer.strategy.barrier()
        log.info(f"{self.name} trained in {record.seconds:.1f} s")
        return record

    def _watch(self) -> Watch:
        """Keeps the best epoch and stops early, where that is asked for."""
        early = self.config.early_stopping
        best = self.config.run.keep == "best"
        return Watch(self.source.task.metric, best=best, patience=early.patience, min_delta=early.min_delta)

    def _averaging(self) -> list[Averaging]:
        settings = self.config.run
        average = settings.averaging
        return [] if average is None else [Averaging(average, settings.ema_decay, settings.swa_start)]

    def _keep(self, module: DistillModule, watch: Watch) -> int:
        """Give the deployed network the weights that are to be kept; their epoch, from 1."""
        last = len(module.history)
        if watch.stopped is not None:
            said = (
                f"stopped after epoch {watch.stopped} of {self.max_epochs}: no gain since epoch {watch.reference_epoch}"
            )
            rank_zero_only(print)(f"{self.name:<9} {said}", flush=True)
            log.info(f"{self.name}: {said}")
        if not watch.best:
            return last
        if watch.epoch is None:
            log.warning(
                f"keep=best: the {self.name} was never validated, so its last epoch is kept; lower "
                "trainer.check_val_every_n_epoch"
            )
            return last
        module.deployed.backbone.load_state_dict(watch.weights)
        log.info(f"{self.name}: epoch {watch.epoch} is kept, with {watch.metric.words} {watch.value:.4f}")
        return watch.epoch

    def _compile(self, module: DistillModule, trainer: pl.Trainer) -> None:
        """Compile student and teacher where that is asked for or pays; a resumed stage does as it did before."""
        setting = self.config.trainer.own.compile
        if setting == "auto" and trainer.world_size > 1:
            return  # processes would measure, and might decide, each for itself
        device, data = trainer.strategy.root_device, self.data()
        roles = self._compilable(module)
        file = self.checkpoints.with_suffix(".compiled.json")
        decided: dict[str, Choice] = (
            json.loads(file.read_text()) if file.is_file() else {role: choice_for(role, setting) for role in roles}
        )
        if any(decided.values()):
            batch = inputs_to(data.example(self.config.data.own.batch_size), device)
            work = Work(batch, self.max_epochs * len(data.train_dataloader()), trainer.precision_plugin.forward_context)
            for role, network in roles.items():
                decided[role] = compile_network(network.to(device), role, work, decided[role])
            if trainer.is_global_zero:
                write_text(file, json.dumps(decided))

    def _compilable(self, module: DistillModule) -> dict[str, Network]:
        found = {"student": module.student}
        if isinstance(module.teacher, LiveTeacher):
            found["teacher"] = module.teacher.network
        return found

    def _brought(self, step: int | None) -> dict[str, Any]:
        """The callbacks and the logger of the configuration, by their settings; logs go on after `step`."""
        callbacks = build.callbacks(self.config.callbacks, self.checkpoints)
        names = [f"callbacks.{name}" for name in map(str, self.config.callbacks)]
        logger = logger_of(self.config.logger, self.directory, self.name, step)
        return {**dict(zip(names, callbacks, strict=True)), "logger": logger}

    def _trainer(self, brought: dict[str, Any], watching: Sequence[pl.Callback]) -> pl.Trainer:
        configured, checkpoint = self.config.trainer.own.progress, self.config.checkpoint
        bars = sys.stdout.isatty() if configured == "auto" else configured
        callbacks = [part for part in brought.values() if isinstance(part, pl.Callback)]
        if self.name == "student" and self.config.run.profile:
            callbacks.append(Profiling(self.directory))
        callbacks.append(StepCheckpoint(self.checkpoints / LAST, checkpoint.every_steps, checkpoint.every_minutes))
        trainer = build.trainer(
            self.config.trainer,
            max_epochs=self.max_epochs,
            default_root_dir=str(self.directory),
            logger=brought["logger"],
            callbacks=[
                *callbacks,
                *watching,
                DataWatch(self.config.data.own.timeout),
                StageProgress(self.name, self.source.task.metric, bars=bars, noun=self.source.noun),
            ],
        )
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # else the user brought another
            trainer.strategy.checkpoint_io = CheckpointFiles()
        return trainer
