"""trainer.precision=auto: told from what the hardware can do."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from distill import devices
from distill.config import build
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.files import CONFIGS
from distill.training import precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(("feature", "name"), [("AVX512_BF16", "bf16-mixed"), (None, "32-true")])
def test_of_a_cpu(monkeypatch: pytest.MonkeyPatch, feature: str | None, name: str) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: feature)
    chosen, reason = precision.choose_precision(CPU)
    assert chosen == name
    assert (feature or "no bfloat16") in reason


@pytest.mark.parametrize(
    ("bf16", "capability", "name"),
    [(True, (8, 0), "bf16-mixed"), (False, (7, 5), "16-mixed"), (False, (6, 1), "32-true")],
)
def test_of_a_gpu(monkeypatch: pytest.MonkeyPatch, bf16: bool, capability: tuple[int, int], name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)  # stands in for a GPU
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision.choose_precision(CUDA)[0] == name


def test_of_other_devices() -> None:
    assert precision.choose_precision(torch.device("mps"))[0] == "32-true"


def test_the_processor_is_asked_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for feature in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, feature, lambda: False, raising=False)
    arm = Path("/proc/cpuinfo").exists() and "Features" in Path("/proc/cpuinfo").read_text()
    if not arm:
        assert precision.native_bfloat16() is None
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert precision.native_bfloat16() == "AVX512_BF16"


def test_the_trainer_gets_what_was_chosen_and_a_given_precision_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: "AMX")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        auto, given = (parse(compose("train", overrides=["trainer=cpu", *more])).trainer
                       for more in ([], ["trainer.precision=32-true"]))  # fmt: skip
    assert build.trainer(auto, logger=False).precision == "bf16-mixed"
    assert build.chosen_precision(auto) == ("bf16-mixed", "this CPU computes bfloat16 natively (AMX)")
    assert build.trainer(given, logger=False).precision == build.chosen_precision(given)[0] == "32-true"


@pytest.mark.parametrize("unknown", ["bf17", "bf16-true", "16-true"])
def test_an_unknown_precision_is_answered_with_the_known(unknown: str) -> None:
    """So are weights in half precision alone: the steps of training are too small for their digits."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=["trainer=cpu", f"trainer.precision={unknown}"])
    with pytest.raises(
        SettingError, match=rf"trainer\.precision={unknown}: must be one of auto, bf16-mixed, 16-mixed, 32-"
    ):
        parse(config)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("trainer.gradient_clip_val=-1", "must be above 0, or null"),
        ("trainer.accumulate_grad_batches=0", "must be 1 or more"),
    ],
)
def test_what_lightning_would_pass_over_is_an_error(setting: str, said: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=["trainer=cpu", setting])
    with pytest.raises(SettingError, match=f"{setting}: {said}"):
        parse(config)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_for_gpus_and_can_be_switched_off(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    devices.allow_tf32(allowed)
    if not torch.cuda.is_available():
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        devices.allow_tf32(allowed)
        assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")
        assert torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
