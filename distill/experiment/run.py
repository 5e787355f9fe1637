"""What a run is: its checked settings, its data, and what each of its stages needs of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from distill.config import build
from distill.config.nodes import Node
from distill.config.preparation import Statistics
from distill.config.run_config import RunConfig
from distill.config.settings import NetworkSettings
from distill.data import Source
from distill.experiment.stage import Stage
from distill.models.network import Network
from distill.seeding import seed_torch
from distill.teachers import Teacher, TeacherInputs
from distill.training.hardware import Hardware


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose settings and data have been checked.

    config: its settings.
    directory: where everything is written.
    source: the data.
    samples: (S,) indices of the training samples that the student and the baseline may see.
    transfer: the data with further images for the student, of which no label is known; the data itself without such.
    statistics: mean and standard deviation per channel of images, for networks that bring none of their own.
    """

    config: RunConfig
    directory: Path
    source: Source
    samples: torch.Tensor
    statistics: Statistics | None
    transfer: Source

    @property
    def assistants(self) -> list[str]:
        """The stages between teacher and student, each taught by the one before."""
        chain = [node.where for node in self.config.chain]
        return chain + [f"generation{i}" for i in range(1, self.config.run.generations)]

    @property
    def students(self) -> torch.Tensor:
        """(T,) indices in `transfer` of the training images that the student sees, those without a label last."""
        return torch.cat([self.samples, torch.arange(len(self.source.train), len(self.transfer.train))])

    @property
    def hardware(self) -> Hardware:
        """What this process computes on, in the precision of the run."""
        return build.hardware(self.config.trainer)

    def networks(self) -> dict[str, Network]:
        """Every network that the run starts from, by its role: 'teacher', assistants, 'student'."""
        return {role: self.network(role) for role in ("teacher", *self.assistants, "student")}

    def network(self, role: str) -> Network:
        """The 'teacher', the 'student' or an assistant, untrained; its first weights depend on seed and role alone."""
        config = self.config
        needs_logits = build.method(config.method).needs_logits
        seed_torch(config.run.seed, role, "weights")
        network = build.network_of(self._node(role), self.source, self.statistics, needs_logits=needs_logits)
        network.lay_out(channels_last=config.trainer.own.channels_last is not False)
        return network

    def _node(self, role: str) -> Node[NetworkSettings]:
        config = self.config
        if role.startswith("generation"):
            return replace(config.student, where=role)
        return next(node for node in (config.teacher, config.student, *config.chain) if node.where == role)

    def teacher(self, network: Network) -> Teacher:
        """Where the answers of the teacher's network come from."""
        config = self.config
        data = config.data.own
        inputs = TeacherInputs(
            source=self.transfer,
            samples=self.students,
            augment=config.augment,
            seed=config.run.seed if data.augment_seed is None else data.augment_seed,
            epochs=config.trainer.own.max_epochs,
            replay=config.teaching.own.epochs,
            batch_size=data.batch_size,
            precision=config.precision,
            workers=1 if data.workers is None else data.workers,
        )
        return build.teacher(config.teaching.target, network, inputs, shard=config.teacher.own.shard)

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        source, samples = self.transfer, self.students
        if name == "teacher":
            source, samples = self.source, torch.arange(len(self.source.train))
        elif name == "baseline":  # as many steps as the student's, of images with labels alone
            source, samples = self.source, self.samples.repeat(-(-len(self.students) // len(self.samples)))
            samples = samples[: len(self.students)]
        epochs = (self.config.teacher if name == "teacher" else self.config.trainer).own.max_epochs
        return Stage(name, self.config, self.directory, source, samples, epochs)
