"""What a run is: its checked settings, its data, and what each of its stages needs of them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from distill.config import build
from distill.config.settings import DataSettings, TeachingSettings, read
from distill.data import ImageSource
from distill.experiment.stage import Stage
from distill.models.network import Network
from distill.seeding import seed_torch
from distill.teachers import Teacher, TeacherInputs


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose settings and data have been checked.

    config: what configs/train.yaml composes.
    directory: where everything is written.
    source: the data.
    samples: (S,) indices of the training images that the student and the baseline may see.
    statistics: mean and standard deviation per channel, for networks that bring none of their own.
    """

    config: DictConfig
    directory: Path
    source: ImageSource
    samples: torch.Tensor
    statistics: tuple[list[float], list[float]]

    @property
    def assistants(self) -> list[str]:
        """The stages between teacher and student, each taught by the one before."""
        chain = [f"assistant{i}" for i in range(1, len(self.config.chain) + 1)]
        return chain + [f"generation{i}" for i in range(1, self.config.generations)]

    def network(self, role: str) -> Network:
        """The 'teacher', the 'student' or an assistant, untrained; its first weights depend on seed and role alone."""
        needs_logits = build.method(self.config.method).needs_logits
        seed_torch(self.config.seed, role, "weights")
        architecture = self._architecture(role)
        network = build.network(architecture, role, self.source, self.statistics, needs_logits=needs_logits)
        network.lay_out(channels_last=self.config.trainer.get("channels_last") is not False)
        return network

    def _architecture(self, role: str) -> DictConfig:
        if role.startswith("assistant"):
            return build.option("model", self.config.chain[int(role.removeprefix("assistant")) - 1], "chain")
        return self.config["student" if role.startswith("generation") else role]  # type: ignore[no-any-return]

    def teacher(self, network: Network) -> Teacher:
        """Where the answers of the teacher's network come from."""
        config = self.config
        data = read(config.data, "data", DataSettings)
        inputs = TeacherInputs(
            source=self.source,
            samples=self.samples,
            augment=build.augment(config.data),
            seed=config.seed if data.augment_seed is None else data.augment_seed,
            epochs=config.trainer.max_epochs,
            replay=read(config.teaching, "teaching", TeachingSettings).epochs,
            batch_size=data.batch_size,
            precision=str(config.trainer.get("precision", "32-true")),
            workers=1 if data.workers is None else data.workers,
        )
        return build.teacher(config.teaching, network, inputs)

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        everything = torch.arange(len(self.source.train))
        samples = everything if name == "teacher" else self.samples
        epochs = (self.config.teacher if name == "teacher" else self.config.trainer).max_epochs
        return Stage(name, self.config, self.directory, self.source, samples, epochs)
