"""Several processes are one: the losses, weights and buffers of a single process that takes the whole batch."""

import copy
import os
import sys
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from commands import ForkServer
from lightning_fabric.plugins.environments import LightningEnvironment
from method_files import FILES
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from distill import DistillModule
from distill.config import build
from distill.data import ImageDataModule, ImageSource
from distill.data import digits as sources
from distill.data.augment import Augment
from distill.data.source import Split
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.tasks import MultiLabel
from distill.tasks.segmentation import SemanticSegmentation
from distill.training.parallel import tell_processes
from distill.training.sharding import FullySharded, whole_weights

VARIANTS = {  # beside the files as they are
    "kd_positionmean": ("kd", {"reduction": "positionmean"}),
    "cc_gaussian": ("cc", {"form": "gaussian"}),
    "mgd_positions": ("mgd", {"mask": "positions"}),
    "sp_alone": ("sp", {"gather": False}),
    "pkd_stages": ("pkd", {"student_layers": ["stages"], "teacher_layers": ["stages"]}),
}
# Segmentation, with unequally many pixels that count.
ON_MASKS = {"kd_masks": "kd", "dist_masks": "dist"} | {name: name for name in ("cirkd", "cwd_logits", "ifvd")}
OTHERS = {*ON_MASKS, "pkd", "fgd", "ld"}  # the last are of boxes
NAMES = [file.stem for file in FILES if file.stem not in OTHERS] + list(VARIANTS) + list(ON_MASKS)
DIFFERENT = {"sp_alone"}  # each process compares its own samples
BATCH, BATCHES = 8, 3  # samples of all processes in a step, and batches of an epoch
STEPS = 5  # of the optimizer: 3 in the first epoch, and 2 of two batches or one in the second
SHARDED = ("fitnet", "crd", "kd_masks")  # trained in parts too, in float32, which is all that Lightning has for that
SPLITS = {129: (2, 3), 2: (3,)}  # samples of a validation split, and processes; the last has one without a batch


digits = cache(sources.digits)


def method_of(name: str) -> Any:
    """As its file sets it, but that samples are compared over all processes."""
    stem, changes = VARIANTS.get(name, (ON_MASKS.get(name, name), {}))
    config = OmegaConf.load(Path(FILES[0]).with_name(f"{stem}.yaml"))
    assert isinstance(config, DictConfig)
    (node,) = config.values()
    if "gather" in node:
        node.gather = True
    if stem == "crd":
        node.negatives = 64
    node.update(changes)
    return build.method(config)


def module_of(name: str, source: ImageSource) -> DistillModule:
    """The method between two small networks with BatchNorm, all drawn anew."""
    torch.manual_seed(0)
    teacher = Network(cnn(num_classes=10, in_channels=1, width=6), name="teacher")
    student = Network(cnn(num_classes=10, in_channels=1, width=4, norm="batch"), name="student")
    if name in ON_MASKS:
        teacher, student = segmenting(6), segmenting(4)
    images, labels = source.train.images[:4].float() / 255, source.train.targets
    optimizer = partial(torch.optim.SGD, lr=1e-3, momentum=0.9, weight_decay=1e-3)
    return DistillModule(
        student,
        teacher,
        method_of(name),
        task=source.task,
        example=images,
        labels=None if name in ON_MASKS else labels,
        optimizer=optimizer,
    )


def with_masks() -> ImageSource:
    """Digits whose bright pixels are of their class; of those above their mean place, fewer count than below."""
    source, splits = digits(), []
    for split in (source.train, source.val):
        masks = torch.where(split.images[:, 0] > 99, split.targets[:, None, None], 0).to(torch.uint8)
        masks[torch.arange(8) < split.targets[:, None].unsqueeze(2).expand(-1, 8, 1) - 1] = 255
        splits.append(Split(split.images, masks))
    return ImageSource("masks", *splits, source.class_names, task=SemanticSegmentation())


def segmenting(width: int) -> Network:
    return Network(nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                                 nn.Conv2d(width, 10, 1)))  # fmt: skip


def trainer(
    rank: int, processes: int, *, sharded: bool = False, precision: Any = "64-true", **settings: Any
) -> pl.Trainer:
    environment = LightningEnvironment()
    environment.set_global_rank(rank)
    environment.set_world_size(processes)
    strategy: Any = "auto"
    if processes > 1:
        strategy = FullySharded() if sharded else DDPStrategy()
        strategy.cluster_environment = environment
    return pl.Trainer(
        accelerator="cpu", devices=processes, strategy=strategy, precision=precision, max_epochs=2, logger=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **settings,
    )  # fmt: skip


def trained(
    name: str, rank: int, processes: int, *, sync_batchnorm: bool = True, sharded: bool = False, **settings: Any
) -> dict[str, Tensor]:
    """Weights, buffers, and the mean losses of both epochs."""
    source = with_masks() if name in ON_MASKS else digits()
    augment = None if name in ON_MASKS else Augment(mixup=0.4)
    samples = torch.arange(BATCH * BATCHES)
    data = ImageDataModule(source, batch_size=BATCH // processes, samples=samples, augment=augment)
    module = module_of(name, source)
    settings |= {"limit_val_batches": 0, "callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]}
    lightning = trainer(rank, processes, sharded=sharded, **settings)
    tell_processes(lightning, sync_batchnorm=sync_batchnorm).fit(module, datamodule=data)
    assert module.global_step == STEPS
    logged = {f"logged {i}": torch.tensor(values["train/loss"]) for i, values in enumerate(module.history)}
    return {**(whole_weights(module) if sharded else module.state_dict()), **logged}


def validated(count: int, rank: int, processes: int) -> dict[str, float]:
    """What is logged of a validation split of so many samples, with several labels each, so that mAP is among it."""
    source = digits()
    labels = [F.one_hot(split.targets, 10) | (split.targets % 2)[:, None] for split in (source.train, source.val)]
    train, val = (Split(s.images[:count], t[:count]) for s, t in zip((source.train, source.val), labels, strict=True))
    source = ImageSource("several labels", train, val, source.class_names, task=MultiLabel())
    torch.manual_seed(0)
    network = Network(cnn(num_classes=10, in_channels=1, width=4))
    module = DistillModule(network, copy.deepcopy(network), task=source.task)
    (logged,) = trainer(rank, processes).validate(module, ImageDataModule(source, batch_size=4), verbose=False)
    return dict(logged)


def work(rank: int, directory: Path) -> None:
    """All that one of three processes does, each of which runs this file."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # or Lightning starts this command, pytest, once more for each other process
    found: dict[str, Any] = {}
    for processes in (3, 2, 1):
        if rank >= processes > 1:
            break
        if processes > 1:
            meeting = f"file://{directory}/meeting{processes}"
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
        for count, shared in SPLITS.items():
            if processes in (*shared, 1):
                found[f"validated {count} in {processes}"] = validated(count, rank, processes)
        if processes == 2:
            found |= {f"{name} in 2": trained(name, rank, 2) for name in NAMES}
            for name in SHARDED:
                for kind, sharded in (("whole", False), ("in parts", True)):
                    found[f"{name} {kind}"] = trained(name, rank, 2, sharded=sharded, precision="32-true")
            found["own statistics"] = trained("kd", rank, 2, sync_batchnorm=False)
        if processes == 1:  # side by side
            found |= {f"{name} in 1": trained(name, 0, 1) for name in NAMES[rank::2]}
        else:
            dist.destroy_process_group()
    torch.save(found, directory / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    directory = tmp_path_factory.mktemp("processes")
    forks.run_ranks(__file__, 3, str(directory))
    return [torch.load(directory / f"{rank}.pt", weights_only=True) for rank in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_does(name: str, found: list[dict[str, Any]]) -> None:
    two, alone = found[0][f"{name} in 2"], (found[0] | found[1])[f"{name} in 1"]
    assert two.keys() == alone.keys()
    furthest = max(
        float((two[key].double() - alone[key].double()).abs().max()) for key in two if not key.startswith("logged")
    )
    if name in DIFFERENT:
        assert furthest > 1e-4
        return
    assert furthest < 1e-10
    for key in ("logged 0", "logged 1"):
        assert float(two[key]) == pytest.approx(float(alone[key]), rel=1e-6)
    for key, other in found[1][f"{name} in 2"].items():
        assert torch.equal(two[key], other), f"{key} is the same in both, though no buffer is sent"


@pytest.mark.parametrize("name", SHARDED)
def test_weights_that_are_shared_out_learn_the_same(name: str, found: list[dict[str, Any]]) -> None:
    parts, whole = found[0][f"{name} in parts"], found[0][f"{name} whole"]
    assert parts.keys() == whole.keys()
    assert all(torch.allclose(parts[key], whole[key], rtol=1e-4, atol=1e-6) for key in whole)
    assert all(torch.equal(parts[key], other) for key, other in found[1][f"{name} in parts"].items())


def test_statistics_of_each_process_are_averaged_at_the_end_of_an_epoch(found: list[dict[str, Any]]) -> None:
    first, second = (each["own statistics"] for each in found[:2])
    assert all(torch.equal(first[key], second[key]) for key in first)
    (name, *_) = (key for key in first if key.endswith("running_var"))
    assert not torch.equal(first[name], found[0]["kd in 2"][name])


@pytest.mark.parametrize(("count", "processes"), [(count, p) for count, shared in SPLITS.items() for p in shared])
def test_validation_is_exact_over_the_split(count: int, processes: int, found: list[dict[str, Any]]) -> None:
    alone = found[0][f"validated {count} in 1"]
    assert {"val/map", "val/ce", "val/kl", "val/agreement"} <= alone.keys()
    for each in found[:processes]:
        assert each[f"validated {count} in {processes}"] == pytest.approx(alone, rel=1e-6)


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
