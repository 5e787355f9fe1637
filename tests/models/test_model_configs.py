import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from typeguard import check_type

FILES = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))
TEXT = {"causal_lm", "sequence_classifier", "llama_1x48", "llama_2x96"}  # no channels; built in tests of their own
USERS_CHOICE = {"torchvision", "torchvision_detection", "torchvision_segmentation", "segmenter", "timm", "custom",
                "exported"}  # fmt: skip
DETECTORS = {"gfl"}
FAMILIES = [file for file in FILES if file.stem not in USERS_CHOICE | DETECTORS | TEXT]


def read(file: Path) -> tuple[Any, dict[str, Any]]:
    config = OmegaConf.load(file)
    for base in config.pop("defaults", []):
        config = OmegaConf.merge(OmegaConf.load(file.with_name(f"{base}.yaml")), config)
    module, _, name = config["_target_"].rpartition(".")
    settings = {
        key: config[key]
        for key in config
        if key != "_target_" and not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key)
    }
    return getattr(import_module(module), name), settings


def build(file: Path, classes: int, channels: int, size: int) -> nn.Module:
    target, settings = read(file)
    offered = {**settings, "num_classes": classes, "in_channels": channels, "image_size": size}
    parameters = inspect.signature(target).parameters
    network: nn.Module = target(**{key: value for key, value in offered.items() if key in parameters})
    return network


def test_all_files_are_here() -> None:
    resnets = {f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)} | {"resnet8x4", "resnet32x4"}
    wide = {"wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"}
    vggs = {f"vgg{depth}" for depth in (8, 11, 13, 16, 19)}
    others = {"mobilenetv2", "shufflenetv1", "shufflenetv2", "cnn24", "cnn12", "cnn4", "mlp"}
    assert {file.stem for file in FILES} == resnets | wide | vggs | others | USERS_CHOICE | DETECTORS | TEXT


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_settings_are_those_of_the_builder(file: Path) -> None:
    target, settings = read(file)
    parameters, hints = inspect.signature(target).parameters, inspect.get_annotations(target)
    if file.stem != "exported":  # a program's classes and channels are its own
        assert "num_classes" in parameters
        assert ("in_channels" in parameters) == (file.stem not in TEXT)
    for key in OmegaConf.load(file):
        assert key in parameters or key in ("_target_", "name", "defaults", "max_epochs"), key
    plain = OmegaConf.to_container(OmegaConf.create(settings))
    for key in set(settings) & set(parameters):
        check_type(plain[key], hints[key])  # type: ignore[index,call-overload]


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_the_file_says_its_name_and_its_true_size(file: Path) -> None:
    heading, _, settings = file.read_text().partition("\n")
    assert f"name: {file.stem}\n" in settings
    small = file.stem in ("cnn24", "cnn12", "cnn4", "mlp")
    network = build(file, *((10, 1, 8) if small else (100, 3, 32)))
    count = sum(p.numel() for p in network.parameters())
    stated = re.search(r": ([\d.]+) (M|thousand) parameters", heading)
    if file.stem != "mlp":
        assert stated is not None
        unit = {"M": 1e6, "thousand": 1e3}[stated[2]]
        assert stated[1] == f"{count / unit:.{len(stated[1].partition('.')[2])}f}"


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_it_answers_in_training_mode_and_under_its_names(file: Path) -> None:
    network = build(file, 10, 1, 16)
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 10)
    names = [name for name, _ in network.named_children()]
    assert names[0] == "stem"
    assert names[-1] == "head"
    assert "layer1" in names
