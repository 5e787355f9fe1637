"""What is told of a configuration before the long imports."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from distill.config.first_look import check
from distill.errors import SettingError
from distill.files import CONFIGS


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=fast"],
        ["teacher.optimizer=adamm"],
        ["scheduler.warmup=2"],
        ["method.kd.temperature=0"],
        ["trainer.precision=8"],
        ["data.augment.mixup=-1"],
        ["+sead=1"],
    ],
)
def test_a_mistake_in_a_setting_is_seen_at_first_look(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=overrides)
    with pytest.raises(SettingError, match=overrides[0].lstrip("+").partition("=")[0]):
        check(config)


def test_a_look_at_the_layers_needs_no_method_that_works() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        check(compose("train", overrides=["show=layers", "method.kd.temperature=0"]))


def test_the_first_look_waits_for_no_long_import() -> None:
    modules = "distill.config.first_look, distill.experiment.directory"
    long = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "torchvision", "scipy", "transformers")
    told = f"import sys, {modules}; print([name for name in {long!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
