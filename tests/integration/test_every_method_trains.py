"""Every file of configs/method/ in a plain Lightning trainer, on the default data and networks."""

from functools import cache
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from method_files import FILES
from omegaconf import DictConfig, OmegaConf

from distill import DistillModule, Network
from distill.config import build
from distill.config.nodes import without
from distill.config.settings import DataSettings
from distill.data import ImageDataModule
from distill.data.digit_scenes import digit_scenes
from distill.methods import Method
from distill.models.cnn import cnn
from distill.training.checkpointing import StepCheckpoint

CONFIGS = Path(__file__).parents[2] / "configs"
STEPS = 3  # of an epoch
STOPPED = 4  # after so many, in the second epoch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),  # Lightning's own doing
]


def loader(task: str = "classification") -> ImageDataModule:
    """Digits, or a few scenes of them."""
    if task != "classification":
        return ImageDataModule(digit_scenes("masks" if task == "segmentation" else "boxes", 16, 8), batch_size=4)
    data = OmegaConf.load(CONFIGS / "data" / "digits.yaml")
    assert isinstance(data, DictConfig)
    data = OmegaConf.create({"_target_": data._target_})
    return ImageDataModule(build.source(without(data, DataSettings)), batch_size=16, samples=torch.arange(100, 300))


def task_of(method: Method) -> str:
    """By what it needs, or whose layers it names."""
    if "a class for each position" in method.needs:
        return "segmentation"
    return "detection" if "boxes" in method.needs or "levels.*" in method.taps.student else "classification"


def module_of(name: str, data: ImageDataModule) -> DistillModule:
    """The method of a file between the default networks, all drawn anew."""
    config = OmegaConf.load(CONFIGS / "method" / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    torch.manual_seed(0)
    method, task, classes = build.method(config), data.source.task, data.source.num_classes
    wide, options = (24 if task.name == "classification" else 6), {"num_classes": classes, "in_channels": 1}
    teacher = Network(cnn(width=wide, task=task.name, **options), name="teacher")
    student = Network(cnn(width=4, norm="none", task=task.name, **options), name="student")
    labels = None
    if task.name == "classification":
        labels = torch.full_like(data.source.train.targets, -1)
        labels[100:300] = data.source.train.targets[100:300]
    return DistillModule(student, teacher, method, example=data.example(), labels=labels, task=task)


def trainer(directory: Path, **settings: object) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=STEPS,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=directory,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing="callbacks" in settings,
        **settings,
    )


@cache
def data_for(task: str) -> ImageDataModule:
    return loader(task)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_trains_and_goes_on_from_within_an_epoch_bit_for_bit(file: Path, tmp_path: Path) -> None:
    config = OmegaConf.load(file)
    assert isinstance(config, DictConfig)
    task = task_of(build.method(config))
    data = data_for(task)
    module = module_of(file.stem, data)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    lightning = trainer(tmp_path, callbacks=[StepCheckpoint(tmp_path / "within.ckpt", every_steps=STOPPED)])
    lightning.fit(module, datamodule=data)
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("student.") for name in moved)
    still = {name for name, p in module.named_parameters() if p.requires_grad} - moved
    allowed = {"student.backbone.head.weight", "student.backbone.head.bias"}
    assert still <= (allowed if module.method.label_weight == 0 else set()), "all that is trained moves"

    saved = torch.load(tmp_path / "within.ckpt", weights_only=True)
    assert saved["global_step"] == STOPPED
    assert not any(name.startswith("teacher.") for name in saved["state_dict"])
    other = module_of(file.stem, data)
    torch.rand(7)  # nothing rests on where a process's generators happen to stand
    trainer(tmp_path).fit(other, datamodule=loader(task), ckpt_path=tmp_path / "within.ckpt", weights_only=True)
    ended, undisturbed = other.state_dict(), module.state_dict()
    assert ended.keys() == undisturbed.keys()
    assert [name for name in ended if not torch.equal(ended[name], undisturbed[name])] == []
    assert other.history == module.history
    assert len(other.history) == 2
