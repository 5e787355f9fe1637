"""trainer.precision=auto and channels_last=auto are tried on the networks of the run.

No CPU whose bfloat16 is wrong or slow is at hand: networks that are wrong under autocast, and a clock of our own,
stand in for it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.experiment.directory import save_config
from distill.experiment.pipeline import prepare
from distill.experiment.preflight import arithmetic, check_networks, settle_arithmetic, timed_step
from distill.experiment.preflight.timed_step import Seconds, TimedStep, Way
from distill.experiment.resume import resumed
from distill.models.network import Network
from distill.training import precision
from distill.training.module import DistillModule
from distill.types import Batch

QUICK = (
    "trainer=cpu", "logger=none", "trainer.max_epochs=1", "teacher.max_epochs=1", "model@teacher=cnn4",
    "model@student=cnn4", "data.batch_size=8",
)  # fmt: skip


class WrongInHalf(nn.Module):
    """Answers as it should in float32; in half precision, with NaN, too much or not at all, in one mode or both."""

    def __init__(self, num_classes: int, fault: str, mode: str = "both") -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, num_classes)
        self.fault, self.mode = fault, mode

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).mean((2, 3)))
        here = self.mode in ("both", "training" if self.training else "evaluation")
        if not (torch.is_autocast_enabled(images.device.type) and here):
            return logits
        if self.fault == "fails":
            raise RuntimeError("not implemented for 'BFloat16'")
        return logits * (float("nan") if self.fault == "undefined" else 1000.0)


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bfloat16", lambda: "AMX")


def settle(directory: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        run = prepare(parse(compose("train", overrides=[*QUICK, *overrides])), directory)
    networks = check_networks(run)
    before = {role: [value.clone() for value in network.state_dict().values()] for role, network in networks.items()}
    state = torch.get_rng_state()
    run = settle_arithmetic(run, networks)
    assert torch.equal(state, torch.get_rng_state())
    for role, network in networks.items():
        assert all(torch.equal(*both) for both in zip(before[role], network.state_dict().values(), strict=True))
        assert network.channels_last is run.config.trainer.own.channels_last
    return OmegaConf.create(dict(run.config.values))


@pytest.mark.parametrize(
    ("role", "fault", "mode", "said"),
    [
        ("student", "undefined", "both", "the answer is not finite with bf16-mixed in a step of the student"),
        ("student", "undefined", "training", "the loss is not finite with bf16-mixed in a step of the student"),
        ("student", "large", "evaluation", "the answer is of size "),
        (
            "student",
            "fails",
            "both",
            "it fails with bf16-mixed in a step of the student: not implemented for 'BFloat16'",
        ),
        ("teacher", "undefined", "training", "the loss is not finite with bf16-mixed in a step of the teacher"),
        ("teacher", "undefined", "evaluation", "the answer is not finite with bf16-mixed in a step of the teacher"),
    ],
)
def test_what_is_wrong_in_half_precision_is_computed_in_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, fault: str, mode: str, said: str
) -> None:
    wrong = (f"model@{role}=custom", f"{role}.target=test_arithmetic.WrongInHalf")
    config = settle(tmp_path, *wrong, f"+{role}.arguments={{fault: {fault}, mode: {mode}}}".replace("+", ""))
    assert config.trainer.precision == "32-true"
    out = capsys.readouterr().out
    assert "precision 32-true: this CPU computes bfloat16 natively (AMX); but " in out
    assert said in out


def test_a_teacher_that_is_trained_already_is_tried_as_it_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (
        "model@teacher=custom",
        "teacher.target=test_arithmetic.WrongInHalf",
        "teacher.arguments={fault: undefined}",
    )
    assert settle(tmp_path, *wrong, "teacher.max_epochs=0").trainer.precision == "32-true"
    assert "in a step of the student" in capsys.readouterr().out


def test_a_short_run_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arithmetic, "_faster", lambda *_: pytest.fail("was measured"))
    trainer = settle(tmp_path).trainer
    assert (trainer.precision, trainer.channels_last) == ("bf16-mixed", True)
    assert capsys.readouterr().out == (
        "precision bf16-mixed: this CPU computes bfloat16 natively (AMX); not measured, for the run is short\n"
    )


def clock(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Way, int], float]) -> list[Way]:
    """Let steps take what is told by the way and how often it was taken before; the ways, in their order."""
    taken: list[Way] = []
    note = TimedStep.note

    def told(step: TimedStep, way: Way, _: float) -> None:
        note(step, way, seconds(way, taken.count(way)))
        taken.append(way)

    monkeypatch.setattr(TimedStep, "note", told)
    return taken


@pytest.mark.parametrize(
    ("half", "first", "chosen"),
    [
        (1.0, 1.0, ("bf16-mixed", True)),
        (1.2, 0.9, ("bf16-mixed", True)),
        (1.8, 1.0, ("32-true", True)),
        (0.4, 0.5, ("bf16-mixed", False)),
        (1.8, 0.5, ("32-true", False)),
    ],
)
def test_what_is_clearly_faster_is_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    half: float,
    first: float,
    chosen: tuple[str, bool],
) -> None:
    """half: seconds in bf16-mixed, where 32-true takes one; first: with channels first, as a share of channels last."""

    clock(
        monkeypatch,
        lambda way, _: (half if way.precision == "bf16-mixed" else 1.0) * (1.0 if way.channels_last else first),
    )
    monkeypatch.setattr(arithmetic, "SHORT", 0)
    trainer = settle(tmp_path).trainer
    assert (trainer.precision, trainer.channels_last) == chosen
    lines = capsys.readouterr().out.splitlines()
    assert f"training takes {half * 125:.3g} ms an image in bf16-mixed and 125 in 32-true" in lines[0]
    assert lines[1].startswith(f"channels_last {str(chosen[1]).lower()}: training takes ")


@pytest.mark.parametrize(
    ("half", "steps", "chosen"),
    [
        (0.3, 1, "bf16-mixed"),
        (1.0, 2, "bf16-mixed"),
        (1.7, 1, "32-true"),
        (1.25, 3, "bf16-mixed"),
        (1.26, 3, "32-true"),
    ],
)
def test_measuring_ends_when_it_is_clear_and_the_first_step_counts_for_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: float, steps: int, chosen: str
) -> None:
    """A first step takes up to twice as long as others, which makes no difference."""

    def seconds(way: Way, before: int) -> float:
        lasts = half if way.precision == "bf16-mixed" else 1.0
        return lasts * (1.9 if before == 0 and way.precision == "bf16-mixed" else 1.0)

    taken = clock(monkeypatch, seconds)
    monkeypatch.setattr(arithmetic, "SHORT", 0)
    monkeypatch.setattr(timed_step, "FIRST", 2.0)
    config = settle(tmp_path, "teacher.max_epochs=0", "trainer.channels_last=true")
    assert config.trainer.precision == chosen
    assert [taken.count(Way(precision, True)) for precision in ("bf16-mixed", "32-true")] == [steps, steps]


def test_the_first_step_on_a_gpu_says_nothing() -> None:
    way = Way("32-true", True)
    for device, least in (("cpu", 0.5), ("meta", 0.0)):
        images = torch.empty(2, 3, 4, 4, device=device)
        step = TimedStep(DistillModule(nn.Flatten()), Batch(images, torch.zeros(2)), images=2, flops=1)
        step.note(way, 0.56)
        assert step.spent[way] == Seconds(least, 0.56)
        step.note(way, 0.46)
        step.note(way, 0.5)
        assert step.spent[way] == Seconds(0.4, 0.46)


def test_processes_that_were_started_from_outside_take_the_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arithmetic, "_faster", lambda *_: pytest.fail("was measured"))
    monkeypatch.setattr(arithmetic, "processes_to_start", lambda _: 0)
    monkeypatch.setattr(arithmetic, "SHORT", 0)
    config = settle(tmp_path, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert config.trainer.precision == "bf16-mixed"
    assert "not measured, for each process would alone" in capsys.readouterr().out


def test_what_is_given_stays_and_a_real_measurement_leaves_a_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "SHORT", 0)
    monkeypatch.setattr(arithmetic, "BOX", 0.0)
    given = settle(tmp_path, "trainer.precision=32-true", "trainer.channels_last=false").trainer
    assert (given.precision, given.channels_last) == ("32-true", False)
    measured = settle(tmp_path).trainer
    assert measured.precision in ("bf16-mixed", "32-true")
    assert measured.channels_last in (True, False)


def test_a_resumed_run_keeps_its_layout(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        before, now = (
            compose("train", overrides=[*QUICK, f"trainer.channels_last={kept}"]) for kept in ("false", "auto")
        )
    save_config(before, tmp_path)
    assert resumed(now, tmp_path, [])[0].trainer.channels_last is False
    del before.trainer.channels_last  # of a run of a time without the setting
    save_config(before, tmp_path)
    assert resumed(now, tmp_path, [])[0].trainer.channels_last is True


def test_layout_is_of_weights_and_maps_and_changes_no_answer() -> None:
    torch.manual_seed(0)
    network = Network(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    )
    images = torch.rand(2, 3, 8, 8)
    last = network(images).logits
    assert network.backbone[0].weight.is_contiguous(memory_format=torch.channels_last)
    network.lay_out(channels_last=False)
    assert network.backbone[0].weight.is_contiguous()
    assert network.arrange(images.to(memory_format=torch.channels_last)).is_contiguous()
    torch.testing.assert_close(network(images).logits, last)
    plain = Network(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)))
    plain.lay_out(channels_last=True)
    assert not plain.channels_last
