"""From configs to objects: every option builds, and every mistake that a user can make is one line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from distill.cli import CONFIGS
from distill.config import build, loggers
from distill.config.run_config import parse
from distill.data import ImageSource
from distill.errors import SettingError
from distill.experiment.pipeline import prepare
from distill.experiment.preflight import check_networks
from distill.methods import KD, Composite, FitNet, Method
from distill.models.network import Network
from distill.teachers import LiveTeacher, TeacherInputs

STATISTICS = ([0.3], [0.4])


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.fixture(scope="module")
def digits() -> ImageSource:
    return build.source(parse(composed()).data.target)


# ---------------------------------------------------------------------------------------------------- every option


GROUPS = ("data", "method", "optimizer", "scheduler", "trainer", "callbacks", "logger", "teaching", "experiment")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((CONFIGS / group).glob("*.yaml"))]
OPTIONS += [("model@teacher", file.stem) for file in sorted((CONFIGS / "model").glob("*.yaml"))]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda part: part.replace("model@", ""))
def test_every_option_composes(group: str, option: str) -> None:
    config = composed(f"{group}={option}")
    assert set(config) == {
        "checkpoint",
        "seed", "baseline", "resume", "data", "teacher", "student", "method", "teaching", "optimizer", "scheduler",
        "trainer", "callbacks", "logger", "chain", "generations", "preflight", "show", "profile",
        "label_smoothing", "class_weights", "keep", "early_stopping", "averaging", "ema_decay", "swa_start",
        "on_nonfinite", "trust", "on_policy",
    }  # fmt: skip
    if group == "method":
        variants = {"kd_standardized": "kd", "kd_tokens": "kd", "fitnet_maps": "fitnet"}
        assert list(config.method) == [variants.get(option, option)]


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "method"])
def test_every_method_builds_with_what_any_method_takes(option: str) -> None:
    config = composed(f"method={option}")
    (name,) = config.method
    built = build.method(config.method)
    assert isinstance(built, Method)
    assert built.standardize_logits is (option == "kd_standardized")
    ramp = f"++method.{name}.schedules.weight={{_target_: distill.schedules.Ramp, until: 0.5}}"
    built = build.method(composed(f"method={option}", f"++method.{name}.standardize_logits=true", ramp).method)
    assert built.standardize_logits is True
    assert built.schedules["weight"](0.25) == 0.5


def test_methods_compose() -> None:
    built = build.method(composed("method=[kd,fitnet]", "method.kd.temperature=2").method)
    assert isinstance(built, Composite)
    kd, fitnet = built.members
    assert isinstance(kd, KD)
    assert kd.temperature == 2
    assert isinstance(fitnet, FitNet)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "optimizer"])
def test_every_optimizer_builds(option: str) -> None:
    config = composed(f"optimizer={option}", "optimizer.lr=0.5").optimizer
    optimizer = build.optimizer(config)([nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "scheduler"])
def test_every_schedule_builds(option: str) -> None:
    schedule = build.schedule(composed(f"scheduler={option}").scheduler)
    assert all(0 <= schedule(step / 10) <= 1 for step in range(11))


@pytest.mark.parametrize("option", ["auto", "cpu", "ddp"])
def test_trainers_build_where_there_is_no_gpu(option: str) -> None:
    trainer = build.trainer(
        parse(composed(f"trainer={option}", "trainer.devices=1")).trainer, logger=False, max_epochs=3
    )
    assert isinstance(trainer, pl.Trainer)
    assert trainer.max_epochs == 3
    assert trainer.progress_bar_callback is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the GPU that it must not have")
@pytest.mark.parametrize("option", ["gpu", "fsdp"])
def test_a_trainer_without_its_gpu_is_one_line(option: str) -> None:
    with pytest.raises(SettingError) as caught:
        build.trainer(parse(composed(f"trainer={option}")).trainer, logger=False)
    assert str(caught.value).startswith("trainer")
    assert "\n" not in str(caught.value)
    assert "cuda" in str(caught.value).lower()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer=cpu"], (1, 1, 1)),
        (["trainer=cpu", "trainer.precision=bf16-mixed"], (1, 1, 1)),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"], (2, 1, 2)),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.num_nodes=2"], (2, 2, 4)),
    ],
)
def test_the_hardware_is_that_of_a_trainer(overrides: list[str], expected: tuple[int, int, int]) -> None:
    config = parse(composed(*overrides)).trainer
    hardware, trainer = build.hardware(config), build.trainer(config, logger=False)
    assert (hardware.devices, hardware.nodes, hardware.world_size) == expected
    assert expected == (trainer.num_devices, trainer.num_nodes, trainer.world_size)
    assert hardware.device == trainer.strategy.root_device
    assert hardware.plugin.precision == trainer.precision
    assert build.hardware(config, "64-true").plugin.precision == "64-true"


@pytest.mark.parametrize("override", ["trainer.devices=some", "trainer.accelerator=abacus", "trainer.strategy=wishes"])
def test_hardware_that_is_not_there_is_named_as_by_a_trainer(override: str) -> None:
    config = parse(composed(override)).trainer
    said = []
    for make in (build.hardware, partial(build.trainer, logger=False)):
        with pytest.raises(SettingError) as caught:
            make(config)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("trainer")


def test_callbacks_and_logger(tmp_path: Path) -> None:
    config = composed("+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/accuracy}")
    checkpoint, stop = build.callbacks(config.callbacks, tmp_path / "checkpoints")
    assert isinstance(checkpoint, pl.callbacks.ModelCheckpoint)
    assert Path(str(checkpoint.dirpath)) == tmp_path / "checkpoints"
    assert isinstance(stop, pl.callbacks.EarlyStopping)
    assert loggers.logger(composed("logger=none").logger, tmp_path, "student") is False
    logger = loggers.logger(config.logger, tmp_path, "student")
    assert isinstance(logger, pl.loggers.TensorBoardLogger)
    assert Path(logger.log_dir) == tmp_path / "tensorboard" / "student"


def test_the_live_teacher(digits: ImageSource) -> None:
    network = build.network_of(parse(composed()).teacher, digits, STATISTICS)
    teacher = build.teacher(
        parse(composed()).teaching.target, network, TeacherInputs(digits, torch.arange(len(digits.train)))
    )
    assert isinstance(teacher, LiveTeacher)
    assert teacher.network is network


# ---------------------------------------------------------------------------------------------------- the networks


def test_a_network_takes_the_datas_shape_and_statistics(digits: ImageSource) -> None:
    network = build.network_of(parse(composed()).student, digits, STATISTICS)
    assert isinstance(network, Network)
    assert network.name == "cnn4"
    assert network(torch.rand(2, 1, 8, 8)).logits.shape == (2, 10)
    assert network.preprocess.mean is not None
    assert network.preprocess.mean.flatten().tolist() == pytest.approx(STATISTICS[0])


def test_a_networks_own_statistics_win(digits: ImageSource) -> None:
    config = composed("student.mean=[0.5]", "student.std=[0.25]", "student.size=16")
    prepare = build.network_of(parse(config).student, digits, STATISTICS).preprocess
    assert prepare.mean is not None
    assert prepare.std is not None
    assert (prepare.mean.item(), prepare.std.item(), prepare.size) == (0.5, 0.25, 16)


# ------------------------------------------------------------------------------------------------------ the mistakes


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["method.kd.temperature=0"], "method.kd.temperature=0: must be a finite number above zero"),
        (["method.kd.temperature=hot"], "method.kd.temperature='hot': must be a number"),
        (["method.kd.weight=-1"], "method.kd.weight=-1: must be a finite number, zero or more"),
        (["method.kd.label_weight=-0.1"], "method.kd.label_weight=-0.1: must be a finite number, zero or more"),
        (["method.kd.reduction=none"],
         "method.kd.reduction='none': must be one of batchmean, sum, mean, positionmean"),
        (["method.kd.log_target=perhaps"], "method.kd.log_target='perhaps': must be true or false"),
        (["+method.kd.temprature=2"], "method.kd.temprature is not a setting; did you mean method.kd.temperature?"),
        (["+method.kd.schedules.gamma={_target_: distill.schedules.Ramp}"],
         "method.kd.schedules.gamma: KD has no number of this name"),
        (["+method.kd.schedules.weight={_target_: distill.schedules.Ramp, until: 0}"],
         "method.kd.schedules.weight.until=0: must be above begin=0.0"),
        (["+method.mine={_target_: distill.schedules.Constant}"],
         "method.mine._target_=distill.schedules.Constant: builds a Constant, not a Method"),
        (["+method.mine={_target_: distill.methods.Mine}"],
         "method.mine._target_=distill.methods.Mine: cannot be imported"),
        (["+method.mine={weight: 1}"], "method.mine has no _target_: the dotted path of what to build"),
        (["+method.mine=1"],
         "method.mine=1: is no node with a _target_; choose a method with method=mine"),
        (["~method.kd"], "method is empty: choose one of configs/method/, such as method=kd"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be zero or more"),
        (["optimizer.lr=fast"], "optimizer.lr='fast': must be"),
        (["+optimizer.momentun=0.9"], "optimizer.momentun is not a setting"),
        (["scheduler.warmup=1"], "scheduler.warmup=1: must be a share between 0 and 1, below 1"),
        (["scheduler=multistep", "scheduler.milestones=[0.9,0.1]"],
         "scheduler.milestones=[0.9, 0.1]: must be increasing shares of the training between 0 and 1"),
        (["data.augment.crop_padding=-1"], "data.augment.crop_padding=-1: must be"),
        (["data.augment.flip=7"], "data.augment.flip=7: must be true or false"),
        (["data.batch_size=0"], "data.batch_size=0: must be 1 or more"),
        (["data.student_fraction=2"], "data.student_fraction=2: must be above 0 and at most 1"),
        (["data.student_without=[ten]"], "data.student_without=['ten']: digits has no class 'ten'; must be"),
        (["data=arrays"], "data.path is not set: give data.path=VALUE"),
        (["data=arrays", "data.path=/nowhere.npz"], "data.path=/nowhere.npz: no such file; give an .npz file with"),
        (["data=image_folder"], "data.root is not set: give data.root=VALUE"),
        (["teacher.checkpoint=/nowhere.safetensors"],
         "teacher.checkpoint: /nowhere.safetensors: no such file; nothing of a like name beside it"),
        (["student.width=0"], "student.width=0: must be at least 1"),
        (["student.norm=layer"], "student.norm='layer': must be one of group, batch, none"),
        (["student.mean=[0.5]"], "student.mean=[0.5] and std=None: give both or neither"),
        (["model@student=custom"], "student.target is not set: give student.target=VALUE"),
        (["model@student=custom", "student.target=nowhere.Net"],
         "student.target='nowhere.Net': no module named 'nowhere' was found"),
        (["model@teacher=torchvision"], "teacher.name is not set: give teacher.name=VALUE"),
        (["teacher.mean=[0.5,0.5]", "teacher.std=[0.5,0.5]"], "teacher.mean=[0.5, 0.5]: must be a list of 1"),
        (["data.mean=[0.5,0.5]", "data.std=[1.0,1.0]"], "data.mean=[0.5, 0.5]: must be a list of 1"),
        (["data.mean=[0.5]"], "data.mean=[0.5] and std=None: give both or neither"),
        (["seed=-3"], "seed=-3: must be zero or more"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: must be 1 or more"),
        (["trainer.progress=loud"], "trainer.progress='loud': must be one of true, false, auto"),
    ],
    ids=lambda part: part[-1] if isinstance(part, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line_before_anything_is_trained(overrides: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        check_networks(prepare(parse(composed(*overrides)), tmp_path))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["trainer.precision=7"], "trainer"),
        (["trainer.devices=0"], "trainer"),
        (["+trainer.max_stepz=3"], "trainer.max_stepz is not a setting; did you mean trainer.max_steps?"),
        (["trainer.accelerator=abacus"], "trainer"),
        (["trainer.strategy=wishes"], "trainer"),
    ],
    ids=lambda part: part[-1] if isinstance(part, list) else "",
)
def test_a_trainers_mistake_is_one_line(options: list[str], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        build.trainer(parse(composed(*options)).trainer, logger=False)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value).strip()


def test_a_network_for_other_classes_is_named(tmp_path: Path) -> None:
    target = {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 7}
    config = composed()
    OmegaConf.set_struct(config, False)
    config.student = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}, target]}
    with pytest.raises(SettingError, match="student: Sequential has 7 outputs, and digits has 10 classes"):
        check_networks(prepare(parse(config), tmp_path))


def test_arrays_reach_the_networks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 12), ("val", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 3
    np.savez(tmp_path / "mine.npz", **arrays)
    run = prepare(
        parse(composed("data=arrays", f"data.path={tmp_path}/mine.npz", "data.student_fraction=0.5")), tmp_path
    )
    assert run.source.name == "mine"
    assert len(run.samples) == 6
    assert run.network("student")(run.source.val.show(torch.arange(6))).logits.shape == (6, 3)


def test_first_weights_depend_on_seed_and_role_alone(tmp_path: Path) -> None:
    def weights(make: Callable[[], Network]) -> torch.Tensor:
        return torch.cat([p.flatten() for p in make().parameters()]).detach()

    run = prepare(parse(composed("model@teacher=cnn4")), tmp_path)
    first = weights(partial(run.network, "student"))
    torch.manual_seed(123)
    assert torch.equal(first, weights(partial(run.network, "student")))
    assert not torch.equal(first, weights(partial(run.network, "teacher")))
    other = prepare(parse(composed("model@teacher=cnn4", "seed=1")), tmp_path)
    assert not torch.equal(first, weights(partial(other.network, "student")))


def test_a_network_of_a_node_that_stands_by_itself(digits: ImageSource) -> None:
    config = OmegaConf.create({"_target_": "distill.models.cnn.cnn", "width": 4, "mean": [0.5], "std": [0.25]})
    network = build.network(config, "student", digits, STATISTICS)
    assert network.prepare is network.preprocess
    assert network.preprocess.mean is not None
    assert network.preprocess.mean.item() == 0.5
