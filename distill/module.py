"""The training step: a student, a teacher and a method in; a loss and its measurements out."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, Self

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from distill.idle import idle_parameters
from distill.losses import kl_divergence
from distill.methods import KD, Composite, Example, Method, Supervised, Taps
from distill.methods.terms import LossTerms
from distill.models import taps
from distill.models.network import Network
from distill.parameters import Grouping
from distill.running import RunningMeans
from distill.schedules import Constant, Schedule
from distill.seeding import seed_torch
from distill.streams import Aside
from distill.teachers import LiveTeacher, Teacher
from distill.types import Batch, Outputs

OptimizerFactory = Callable[[Iterable[nn.Parameter] | Iterable[dict[str, Any]]], Optimizer]
ADAMW: OptimizerFactory = partial(torch.optim.AdamW, lr=1e-3)


class DistillModule(pl.LightningModule):
    """Trains `student` to imitate `teacher` as `method` says; without a teacher, on labels alone.

    The teacher is frozen, in evaluation mode, and no submodule of this module: it is in no optimizer, no gradient
    reduction between processes, and, unless it moves (a moving average), no checkpoint.

    Args:
        student: maps (N, C, H, W) images to (N, classes) logits; trained, as are the method's projections.
        teacher: a network, or a `Teacher`; None to train on labels alone.
        method: what to imitate; many need a teacher; `Supervised` is the default without one.
        optimizer: called with the parameters to train: `functools.partial(torch.optim.SGD, lr=0.1)`.
        grouping: rates and weight decay that differ between parameters; the optimizer is called with groups then.
        schedule: factor on the learning rate as a function of the share of steps done.
        example: (N, C, H, W) images, needed only by methods that size projections or choose layers by themselves.
        labels: (S,) int64, the true class of every training sample by its index, -1 for those that aren't trained on;
            needed only with `example`, by methods with a memory of all samples.
        seed: what random layers (dropout) draw from, anew each epoch: a resumed run repeats the uninterrupted one.

    Attributes:
        deployed: the network to validate and save: the student, unless the method adds a part to it for good.
        history: the logged values of each epoch done.
        span: called with the name of a part of the step for a context around it; for profilers.

    Batches are `distill.types.Batch`, or plain (images, targets) tuples.
    """

    teacher: Teacher | None
    deployed: Network

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        method: Method | None = None,
        *,
        optimizer: OptimizerFactory = ADAMW,
        grouping: Grouping | None = None,
        schedule: Schedule | None = None,
        example: Tensor | None = None,
        labels: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if teacher is None and method is not None and method.needs_teacher:
            raise ValueError(f"method {type(method).__name__} imitates a teacher, and teacher=None was given")
        self.student = student if isinstance(student, Network) else Network(student)
        # Past nn.Module's registration on purpose: see the class docstring.
        object.__setattr__(self, "teacher", _as_teacher(teacher))
        self._deploy(self.student)
        self.method = method or (Supervised() if teacher is None else KD())
        self.optimizer_factory = optimizer
        self.grouping = grouping or Grouping()
        self.schedule = schedule or Constant()
        self.seed = seed
        self.history: list[dict[str, float]] = []
        self.span: Callable[[str], AbstractContextManager[Any]] = nullcontext
        self._total_steps = 1
        self._idle: list[nn.Parameter] | None = None
        self._running, self._factors = RunningMeans(), RunningMeans()
        self._steps_done = 0
        self._aside = Aside()
        self._validated = RunningMeans()
        self.method.accompany(self.student)
        if self.teacher is not None:
            self.teacher.begin(self.student)
            self._connect(self.teacher, example, labels)

    def _connect(self, teacher: Teacher, example: Tensor | None, labels: Tensor | None) -> None:
        """Tap both networks for the method, and let it create what depends on their shapes."""
        members = self.method.members if isinstance(self.method, Composite) else [self.method]
        for member in members:
            wanted = member.taps
            if not (wanted.student or wanted.teacher):
                continue
            if example is not None and teacher.network is not None:
                layers = taps.resolve(wanted.student, wanted.teacher, self.student, teacher.network, example)
                wanted = Taps(*layers)
            member.taps = Taps(self.student.tap(wanted.student), teacher.tap(wanted.teacher))
        if example is None:
            return
        labels = torch.zeros(len(example), dtype=torch.long) if labels is None else labels
        batch = Batch(example, labels[: len(example)].clamp(min=0), torch.arange(len(example)))
        was_training = self.student.training
        with torch.no_grad():
            student = self.student.eval()(batch.images)
        self.student.train(was_training)
        classifier = None if teacher.network is None else taps.classifier(teacher.network, example)
        self.method.prepare(Example(student, teacher(batch), labels, classifier))
        self._deploy(self.student.around(self.method.deploy(self.student.backbone)))

    def _deploy(self, network: Network) -> None:
        # Past registration too: its weights are the student's and the method's, and belong once in a checkpoint.
        object.__setattr__(self, "deployed", network)

    # ---------------------------------------------------------------------------------------------- steps

    def forward(self, images: Tensor) -> Tensor:
        """The (N, classes) logits for (N, C, H, W) images, of the network that is deployed."""
        outputs: Outputs = self.deployed(images)
        return outputs.logits

    def training_step(self, loaded: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The total loss of one batch; its terms and measurements go to the running means."""
        batch = Batch(*loaded)
        device = batch.images.device
        with self.span("teacher"), nullcontext() if self.teacher is None else self._aside.work(device):
            answers = self._ask("train", self.current_epoch, batch)
        with self.span("student"):
            outputs: Outputs = self.student(batch.images)
        with self.span("teacher"):
            self._aside.join()
        with self.span("method"):
            terms = LossTerms.of(self.method(outputs, answers, batch))
            loss = terms.total()
        self._record(loss, terms, _measure(outputs, answers, batch))
        return self._reaching_all(loss)

    def _record(self, loss: Tensor, terms: LossTerms, measures: dict[str, Tensor]) -> None:
        """Add to the running means: the terms without their weights, as in validation, and with them."""
        shown = {"loss": loss, **terms.unweighted, **measures}
        weighted = {f"weighted/{name}": term for name, term in terms.items()}
        self._running.add({f"train/{name}": value for name, value in shown.items()} | weighted)
        weights = {f"weight/{name}": weight for name, weight in terms.weights.items()}
        scheduled = {f"schedule/{name}": value for name, value in self.method.scheduled().items()}
        self._factors.add(weights | scheduled)

    def _reaching_all(self, loss: Tensor) -> Tensor:
        """The loss, with a zero gradient for what no term reaches (SimKD leaves the student's classifier alone).

        Processes wait for each other's gradient of every parameter. Lightning's ddp_find_unused_parameters_true would
        search the graph in each step; what a method leaves alone is the same in all steps, and found in the first.
        """
        if self._idle is None:
            parallel = self._trainer is not None and isinstance(self.trainer.strategy, DDPStrategy)
            self._idle = idle_parameters(loss, self.parameters()) if parallel else []
        return loss + sum(0 * parameter.sum() for parameter in self._idle) if self._idle else loss

    def validation_step(self, loaded: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy on the validation split; agreement and KL with the teacher where there is one."""
        batch = Batch(*loaded)
        answers = self._ask("val", 0, batch)
        outputs: Outputs = self.deployed(batch.images)
        values = _measure(outputs, answers, batch)
        values.pop("teacher_entropy", None)
        values["ce"] = F.cross_entropy(outputs.logits.float(), batch.targets)
        if answers is not None:
            values["kl"] = kl_divergence(outputs.logits, answers.logits)
        self._validated.add(values, weight=len(batch.images))

    def _ask(self, split: Literal["train", "val"], epoch: int, batch: Batch) -> Outputs | None:
        if self.teacher is None:
            return None
        self.teacher.attend(split, epoch)
        answers: Outputs = self.teacher(batch)
        return answers

    # ---------------------------------------------------------------------------------------------- logging

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Weights and temperatures that follow a schedule move with the share of steps done.

        What random layers draw is a function of the epoch alone, so that a restart draws the same. Seeded here and not
        when the epoch starts: a DataLoader draws too as it begins, and after a restart it begins sooner.
        """
        if batch_idx == 0:
            seed_torch(self.seed, "epoch", self.current_epoch, self.global_rank)
        self.method.set_progress(self.global_step / self._total_steps)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After a step of the optimizer let the teacher follow, and every `log_every_n_steps` log the step's means."""
        if self.global_step == self._steps_done:
            return  # gradients are accumulated
        self._steps_done = self.global_step
        if self.teacher is not None:
            with self.span("teacher"):
                self.teacher.step(self.global_step)
        every: int = getattr(self.trainer, "log_every_n_steps", 0)
        if self.logger is not None and every and self.global_step % every == 0:
            means = {name.replace("train/", "step/"): value for name, value in self._running.step().items()}
            self.logger.log_metrics(means, step=self.global_step)
        self._running.end_step()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._check_finite()
        values = self._running.epoch() | self._factors.epoch()
        groups = self.optimizers().param_groups  # type: ignore[union-attr]
        values["train/learning_rate"] = max(group["lr"] for group in groups)
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)
        # What was logged, for that is the mean over all processes.
        logged = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.history.append({"epoch": self.current_epoch + 1, **logged})

    def _check_finite(self) -> None:
        """Raise FloatingPointError, naming the terms that were first at fault, unless all values are finite."""
        number, bad = self._running.first_not_finite()
        named = [f"{name.removeprefix('train/')}={value}" for name, value in bad.items() if name.startswith("train/")]
        if named:
            raise FloatingPointError(
                f"{', '.join(named)} (first in batch {number}) in epoch {self.current_epoch}: lower optimizer.lr, "
                "or use trainer.precision=32"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history goes along, so that a resumed run's curves are whole; and a teacher that moves."""
        checkpoint["history"] = self.history
        if self.teacher is not None and (memory := self.teacher.memory()):
            checkpoint["teacher"] = memory

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """As `on_save_checkpoint` left it."""
        self.history = checkpoint["history"]
        if self.teacher is not None and "teacher" in checkpoint:
            self.teacher.remember(checkpoint["teacher"])

    def on_validation_epoch_end(self) -> None:
        """Log the validation split's means, over all processes."""
        for name, mean in self._validated.epoch(self._over_processes).items():
            self.log(f"val/{name}", mean, sync_dist=self.trainer.world_size > 1)

    def _over_processes(self, sums: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return sums
        added: Tensor = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
        return added.cpu()

    # ---------------------------------------------------------------------------------------------- optimisation

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over the student's and the method's parameters; the schedule moves at each step."""
        if self.grouping.one:
            optimizer = self.optimizer_factory([weight for weight in self.parameters() if weight.requires_grad])
        else:
            optimizer = self.optimizer_factory(self.grouping.groups(self.student, self.method))
            for group in optimizer.param_groups:
                group["lr"] *= group["lr_scale"]
        if self.trainer.gradient_clip_val:
            # A fused optimizer divides by the loss scale within its step, so Lightning refuses to clip what it would
            # give it. Without this mark gradients are divided before they are clipped, and its step stays fused.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        self._total_steps = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(min(step / self._total_steps, 1.0)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Strategies that shard the student leave the teacher to us."""
        if self.teacher is not None:
            self.teacher.to(self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """The teacher moves with the module, though it isn't a submodule."""
        if self.teacher is not None:
            self.teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _measure(outputs: Outputs, answers: Outputs | None, batch: Batch) -> dict[str, Tensor]:
    """Accuracy; with a teacher also agreement and the teacher's mean entropy in nats. Scalars on the device."""
    with torch.no_grad():
        chosen = outputs.logits.argmax(1)
        targets = batch.targets if batch.targets.dtype == torch.long else batch.targets.argmax(1)
        values = {"accuracy": (chosen == targets).float().mean()}
        if answers is not None:
            values["agreement"] = (chosen == answers.likeliest()).float().mean()
            if answers.top_k is None:
                values["teacher_entropy"] = torch.special.entr(answers.logits.float().softmax(1)).sum(1).mean()
    return values


def _as_teacher(teacher: nn.Module | None) -> Teacher | None:
    if teacher is None or isinstance(teacher, Teacher):
        return teacher
    return LiveTeacher(teacher if isinstance(teacher, Network) else Network(teacher))
