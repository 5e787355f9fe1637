"""The files in configs/data name what exists."""

import inspect
import pkgutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.data import Augment

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))
FRAMEWORK = {"batch_size", "student_fraction", "mean", "std", "augment", "workers"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_key_is_an_argument(path: Path) -> None:
    assert path.read_text().startswith("# ")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    config.pop("defaults", None)  # what this kind of data chooses of the others
    function = pkgutil.resolve_name(config.pop("_target_"))
    parameters = inspect.signature(function).parameters
    assert set(config) - FRAMEWORK <= set(parameters)
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    assert needed <= set(config)
    defaults = {name: parameters[name].default for name in set(config) & set(parameters) - needed}
    if path.stem != "imagenet":
        set_here = {name: config[name] for name in defaults if not str(config[name]).startswith("${")}
        assert {name: defaults[name] for name in set_here} == set_here
    assert set(config.get("augment", {})) <= {field.name for field in fields(Augment)}


def test_there_is_a_file_for_every_source() -> None:
    assert {path.stem for path in CONFIGS} == {
        "arrays", "chat", "cifar10", "cifar100", "custom", "detection_folder", "digit_scenes", "digits",
        "fashion_mnist", "huggingface", "image_folder", "imagenet", "segmentation_folder",
        "standard_library", "text_files", "text_table",
    }  # fmt: skip
