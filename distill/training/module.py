"""The training step: a student, a teacher and a method in; a loss and its measurements out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from distill.inputs import Inputs
from distill.methods import KD, Method, Supervised
from distill.methods.terms import LossTerms
from distill.models.modes import start_training
from distill.models.network import Network
from distill.schedules import Constant, Schedule
from distill.seeding import seed_torch
from distill.tasks import Classification, Task
from distill.teachers import Teacher
from distill.teachers.live import answers_of, as_teacher
from distill.training.adapt import Adapter, as_batch, as_float, images_of
from distill.training.batchnorm import average_statistics, own_statistics
from distill.training.connect import check_teacherless, connect
from distill.training.history import History
from distill.training.hyperparameters import as_method, described, optimizer_settings
from distill.training.nonfinite import LossWatch, OnNonfinite
from distill.training.on_policy import OnPolicy
from distill.training.parameters import Grouping, OptimizerFactory, set_learning_rate, unscale_before_step
from distill.training.running import TrainingRecord
from distill.training.saved_state import load_saved_state, saved_state, set_own_state
from distill.training.sharding import share_out
from distill.training.streams import SideStream
from distill.training.unused_parameters import UnusedParameters
from distill.training.validation import Validation
from distill.types import Batch, Outputs, SplitName

ADAMW: OptimizerFactory = partial(torch.optim.AdamW, lr=1e-3)


class DistillModule(pl.LightningModule):
    """Trains `student` to imitate `teacher` as `method` says; without a teacher, on labels alone.

    The teacher is frozen, in evaluation mode, and no submodule of this module: it is in no optimizer, no gradient
    reduction between processes, and, unless it moves (a moving average), no checkpoint.

    Args:
        student: maps images (N, C, H, W), or tensors by name, to (N, classes) logits; trained, as is the method.
        teacher: a network, or a `Teacher`; None to train on labels alone.
        method: what to imitate, or a list or dict of methods; most need a teacher; without one `Supervised` is default.
        task: what the labels are; None for `distill.tasks.Classification()`.
        label_loss: maps logits and labels to a scalar, in place of the task's own loss; for smoothing and weights.
        optimizer: called with the parameters to train: `functools.partial(torch.optim.SGD, lr=0.1)`.
        grouping: rates and weight decay that differ between parameters; the optimizer is called with groups then.
        schedule: factor on the learning rate as a function of the share of steps done.
        example: a few inputs, needed only by methods that size projections or choose layers by themselves.
        labels: (S,) integers, each training sample's class, -1 if not trained on; for methods that remember samples.
        adapt: called with what the loader yields, where `distill.training.adapt.as_batch` doesn't understand that.
        on_nonfinite: 'stop' ends training with FloatingPointError at a loss that is not finite (on a GPU within
            `log_every_n_steps`, so that no step waits for it); 'skip' leaves that step's update out.
        on_policy: which batches a language model writes itself, for its teacher to judge; None: none.
        seed: what random layers (dropout) draw from, anew each epoch: a resumed run repeats the uninterrupted one.

    Attributes:
        deployed: the network to validate and save: the student, unless the method adds a part to it for good.
        history: the logged values of each epoch done; validation's only where there was one.
        learning_rate: in place of the optimizer's own, once it is set; for learning-rate finders.
        span: called with the name of a part of the step for a context around it; for profilers.

    Batches are `distill.types.Batch`, (images, targets) tuples, or dicts; images are float in [0, 1] or uint8.
    Hyperparameters, for loggers and `load_from_checkpoint`, are plain values: of the method, the optimizer, the seed.

    Raises:
        ValueError: the method needs a teacher, an example or labels that were not given, or what the task has not.
    """

    teacher: Teacher | None
    deployed: Network

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        method: Method | Sequence[Method] | Mapping[str, Any] | None = None,
        *,
        task: Task | None = None,
        label_loss: nn.Module | None = None,
        optimizer: OptimizerFactory = ADAMW,
        grouping: Grouping | None = None,
        schedule: Schedule | None = None,
        example: Inputs | None = None,
        labels: Tensor | Sequence[int] | None = None,
        adapt: Adapter | None = None,
        seed: int = 0,
        on_nonfinite: OnNonfinite = "stop",
        on_policy: OnPolicy | None = None,
    ) -> None:
        super().__init__()
        self.method = as_method(method if method is not None else KD() if teacher is not None else Supervised())
        if teacher is None:
            check_teacherless(self.method)
        self.task = task or Classification()
        self.task.teach(self.method, label_loss)
        self.student = student if isinstance(student, Network) else Network(student)
        # Past nn.Module's registration on purpose: see the class docstring.
        object.__setattr__(self, "teacher", None if teacher is None else as_teacher(teacher))
        start_training(self.student, self.student.backbone)
        self._deploy(self.student)
        self.optimizer_factory = optimizer
        self.grouping, self.schedule = grouping or Grouping(), schedule or Constant()
        self.learning_rate: float | None = None
        self.adapt, self.seed, self.on_policy = adapt, seed, on_policy
        self.history = History()
        self.span: Callable[[str], AbstractContextManager[Any]] = nullcontext
        self._total_steps, self._steps_done = 1, 0
        self._unused, self._record = UnusedParameters(), TrainingRecord()
        self.losses = LossWatch(on_nonfinite)
        self._own_state: dict[str, Any] | None = None  # of this process, from a checkpoint, until the first batch
        self._side_stream, self._validation = SideStream(), Validation(self.task)
        self._scheduler: LambdaLR | None = None
        self.method.setup_student(self.student)
        if self.teacher is not None:
            self.teacher.begin(self.student)
            connect(self.method, self.student, self.teacher, example, labels)
            if example is not None:
                self._deploy(self.student.around(self.method.deploy(self.student.backbone)))
        self.save_hyperparameters(
            {"method": described(self.method), "optimized_by": optimizer_settings(optimizer), "seed": seed}
        )

    def _deploy(self, network: Network) -> None:
        # Past registration too: its weights are the student's and the method's, and belong once in a checkpoint.
        object.__setattr__(self, "deployed", network)

    def forward(self, inputs: Inputs) -> Tensor:
        """The (N, classes) logits for images (N, C, H, W) or tensors by name, of the network that is deployed."""
        outputs: Outputs = self.deployed(inputs)
        return outputs.made()

    def training_step(self, loaded: Any, batch_idx: int) -> Tensor:
        """The total loss of one batch; its terms and measurements go to the running means."""
        batch = self._batch(loaded, "train", self.current_epoch)
        if self.on_policy is not None:
            batch = self.on_policy(batch, self.student, self.global_step)
        device = batch.device
        self.losses.begin(self)
        with self.span("teacher"), nullcontext() if self.teacher is None else self._side_stream.work(device):
            answers = answers_of(self.teacher, batch)
        with self.span("student"):
            outputs: Outputs = self.student(batch.inputs)
        with self.span("teacher"):
            self._side_stream.join()
        with self.span("method"):
            terms = LossTerms.of(self.method(outputs, answers, batch))
            loss = terms.total()
        logits = self.method.deployed_logits(outputs)
        measures = {} if logits is None else self.task.measure(logits, answers, batch.targets)
        self._record.add(loss, terms, measures, self.method.scheduled())
        self.losses.note(terms, batch, self.global_step + 1, self.current_epoch + 1, batch_idx)
        if device.type == "cpu":
            self._check_losses()
        parallel = self._trainer is not None and isinstance(self.trainer.strategy, DDPStrategy)
        return self._unused.add_to(loss, self.parameters()) if parallel else loss

    def on_after_backward(self) -> None:
        """What no term reaches has no gradient, in one process and in several."""
        self._unused.clear_gradients()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave out a step whose loss or gradient is not finite, where that is asked for."""
        if self.losses.action == "skip" and self.losses.skipped_step(self, optimizer):
            self._record.drop_step()

    def _check_losses(self) -> None:
        """Raise FloatingPointError, in all processes, for a loss that is not finite; not for a learning-rate finder."""
        if self._trainer is None or self.lr_schedulers() is self._scheduler:
            self.losses.check(self)

    def _batch(self, loaded: Any, split: SplitName | None, epoch: int = 0) -> Batch:
        """What the loader yields as samples on the device, where Lightning has brought all types that it knows."""
        batch = as_batch(loaded, self.adapt, self.task).to(self.device)
        return replace(batch, inputs=as_float(batch.inputs), split=split, epoch=epoch)

    def validation_step(self, loaded: Any, batch_idx: int) -> None:
        """What the task measures on the validation split; agreement and KL with the teacher where there is one."""
        self._validate(self._batch(loaded, "val"))

    def test_step(self, loaded: Any, batch_idx: int) -> None:
        """As `validation_step`, on the test split."""
        self._validate(self._batch(loaded, None))

    def _validate(self, batch: Batch) -> None:
        self._validation.add(self.deployed(batch.inputs), answers_of(self.teacher, batch), batch)

    def predict_step(self, loaded: Any, batch_idx: int) -> Tensor:
        """The (N, classes) logits of a batch, with or without targets; their softmax are the probabilities."""
        logits: Tensor = self(images_of(loaded, self.adapt).to(self.device))
        return logits

    def setup(self, stage: str) -> None:
        """Forget what an interrupted epoch has left, before a checkpoint brings what another had."""
        if stage == "fit":
            self._record, self._own_state = TrainingRecord(), None

    def on_train_start(self) -> None:
        """From here on steps count."""
        self._steps_done = self.global_step
        self.history.begin()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Scheduled weights and temperatures move with the share of steps done; random layers draw by the epoch alone.

        Seeded here, not when the epoch starts: a DataLoader draws too as it begins, after a restart sooner.
        """
        set_own_state(self._own_state, own_statistics(self.modules()), self.device)
        self._own_state = None
        if batch_idx == 0:
            seed_torch(self.seed, "epoch", self.current_epoch, self.global_rank)
        self.method.set_progress(self.global_step / self._total_steps)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step of the optimizer let the teacher follow, and every `log_every_n_steps` log the step's means."""
        if self.global_step <= self._steps_done:
            return  # gradients are accumulated, or a checkpoint was written after the step
        self._steps_done = self.global_step
        if self.trainer.is_last_batch:
            average_statistics(self.modules())
        if self.teacher is not None:
            with self.span("teacher"):
                self.teacher.step(self.global_step)
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        if every and self.global_step % every == 0 and self.device.type != "cpu":
            self._check_losses()
        if self.logger is not None and every and self.global_step % every == 0:
            self.logger.log_metrics(self._record.step(), step=self.global_step)
        self._record.end_step()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._check_losses()
        values = self._record.epoch()
        if "train/loss" not in values:
            self.losses.refuse_empty_epoch()
        values["train/learning_rate"] = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)
        self.history.add_epoch(self.current_epoch, self.trainer.callback_metrics)  # means over all processes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `distill.training.saved_state`. Callbacks write checkpoints before this module has ended the step."""
        self.on_train_batch_end(None, None, 0)
        self._check_losses()
        for logger in [] if self._trainer is None else self.trainer.loggers:
            logger.save()  # what a run that is killed and goes on from here would else lack
        parts = self.history, self.losses, self.deployed, self.teacher, self._record, own_statistics(self.modules())
        checkpoint |= saved_state(*parts, self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `on_save_checkpoint` left it."""
        self._own_state = load_saved_state(checkpoint, self.history, self.losses, self.teacher, self._record)

    def on_validation_epoch_end(self) -> None:
        """Log the validation split's means, over all processes, which all know them."""
        self.history.validated(self.current_epoch)
        self.log_dict(self._validation.epoch("val"))

    def on_test_epoch_end(self) -> None:
        """Log the test split's means, over all processes."""
        self.log_dict(self._validation.epoch("test"))

    def configure_model(self) -> None:
        """See `distill.training.sharding`."""
        share_out(None if self._trainer is None else self.trainer.strategy, self.student, self.method, self.teacher)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over the student's and the method's parameters; the schedule moves at each step."""
        optimizer = self.grouping.optimizer(self.optimizer_factory, self.student, self.method)
        if self.trainer.gradient_clip_val:
            unscale_before_step(optimizer)
        self._total_steps = max(1, int(self.trainer.estimated_stepping_batches))
        if self.learning_rate is not None:
            set_learning_rate(optimizer, self.learning_rate)
        self._scheduler = LambdaLR(optimizer, lambda step: self.schedule(min(step / self._total_steps, 1.0)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Training starts in training mode; strategies that shard the student leave the teacher to us."""
        start_training(self, self.student, self.student.backbone)
        if self.teacher is not None:
            self.teacher.to(self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """The teacher moves with the module, though it isn't a submodule."""
        if self.teacher is not None:
            self.teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]
