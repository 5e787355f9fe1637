"""What is said before a run starts, and that a run doesn't feel it."""

import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import ROOT, ForkServer
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from distill import Batch, DistillModule
from distill.cli import CONFIGS
from distill.config import build
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment.pipeline import prepare, run
from distill.experiment.preflight import check_networks, examine, spare
from distill.experiment.preflight.findings import Findings
from distill.experiment.preflight.step import measure
from distill.experiment.run import Run
from distill.methods import KD
from distill.models.network import Network
from distill.models.weights_file import save_weights
from distill.tasks import Classification
from distill.tasks.evaluation import Evaluation

QUICK = (
    "trainer=cpu", "logger=none", "baseline=false", "trainer.max_epochs=1", "teacher.max_epochs=1",
    "data.batch_size=8", "model@teacher=cnn4", "model@student=cnn4",
)  # fmt: skip
KNOWING = (*QUICK, "model@teacher=custom", "teacher.target=test_preflight.Knowing", "teacher.max_epochs=0")
RAW = ("teacher.mean=[0.0]", "teacher.std=[1.0]")


class Knowing(nn.Module):
    """Names the class of this file's images, whose brightness tells it, if it is shown them as they are."""

    def __init__(self, num_classes: int, shift: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 1, 1)
        self.levels = nn.Parameter(((torch.arange(num_classes) + shift) % num_classes + 0.5) / num_classes)

    def forward(self, images: Tensor) -> Tensor:
        self.stem(images)
        return -1000 * (images.mean((1, 2, 3))[:, None] - self.levels) ** 2


def config(file: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=["data=arrays", f"data.path={file}", "trainer.precision=32-true", *overrides])


def look(directory: Path, chosen: DictConfig) -> Findings:
    prepared: Run = prepare(parse(chosen), directory)
    return examine(prepared, check_networks(prepared))


# ------------------------------------------------------------------------------------------------ as a part of a run


def test_preflight_only_trains_nothing_and_writes_only_what_it_was(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config(images, *QUICK, "preflight=only"), tmp_path) is None
    assert {file.name for file in tmp_path.iterdir()} == {
        ".lock",
        "config.yaml",
        "preflight.txt",
        "provenance.json",
        "train.log",
    }
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == [
        "data",
        "teacher",
        "student",
        "gradients",
        "memory",
        "images",
        "images",
        "time",
    ]
    assert "64 training images of 8 x 8 in 4 classes of 16; 40 for validation" in said
    assert "trained first, for 1 epoch" in said
    assert "shares are unknown until their teacher is trained" in said
    assert said.splitlines()[0] in (tmp_path / "train.log").read_text()


def test_a_run_is_the_same_bit_for_bit_with_and_without(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, build_network = [], build.network_of
    monkeypatch.setattr(
        build,
        "network_of",
        lambda config, *args, **given: built.append(config.where) or build_network(config, *args, **given),
    )
    norm = ("teacher.norm=batch", "student.norm=batch", "method=[kd,fitnet]", "baseline=true")
    step = ("trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=3", "trainer.precision=bf16-mixed")
    for switch in ("true", "false"):
        run(config(images, *QUICK, *norm, *step, f"preflight={switch}"), tmp_path / switch)
    assert built == 2 * ["teacher", "student"]  # once in each run
    for name in ("teacher.safetensors", "baseline.safetensors", "student.safetensors"):
        assert (tmp_path / "true" / name).read_bytes() == (tmp_path / "false" / name).read_bytes()
    assert "preflight took" in (tmp_path / "true" / "train.log").read_text()
    assert "preflight took" not in (tmp_path / "false" / "train.log").read_text()


@pytest.mark.parametrize("trained", [True, False])
def test_a_spare_network_shares_weights_that_stay(trained: bool) -> None:
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), mean=[0.5], std=[0.5], trained=trained)
    other = spare(network)
    for one, two in zip(
        (*network.parameters(), *network.buffers()), (*other.parameters(), *other.buffers()), strict=True
    ):
        assert torch.equal(one, two)
        assert (one is two) == trained
    other.tap(["0"])
    assert other.tapped
    assert not network.tapped
    other.train()
    assert network.eval().training is False is not other.training


def test_random_generators_are_put_back(images: Path, tmp_path: Path) -> None:
    prepared = prepare(parse(config(images, *QUICK)), tmp_path)
    networks = check_networks(prepared)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    examine(prepared, networks)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_teacher_that_knows_enough_is_not_trained_and_a_finished_one_is_scored(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(images, *KNOWING, *RAW, "preflight=false"), tmp_path)
    assert not (tmp_path / "teacher.safetensors").exists()
    (tmp_path / "trained").mkdir()
    chosen = config(images, *QUICK)
    network = prepare(parse(chosen), tmp_path).network("teacher")
    save_weights(network.backbone, tmp_path / "trained" / "teacher.safetensors", {})
    assert look(tmp_path / "trained", chosen).lines[1].startswith("teacher   cnn4, 1.72 k parameters: scores ")
    capsys.readouterr()
    again = config(images, "preflight=only", f"resume={tmp_path}", "trainer=cpu", "trust=[test_preflight]")
    assert run(again, tmp_path / "unused") is None
    assert "Knowing, 6 parameters: scores 100.0% on 40 validation images" in capsys.readouterr().out
    assert not (tmp_path / "unused").exists()


# ------------------------------------------------------------------------------------------------ data and teacher


def test_a_class_without_images_is_named(images: Path, tmp_path: Path) -> None:
    content = dict(np.load(images))
    kept = content["train_labels"] != 2
    content |= {name: content[name][kept] for name in ("train_images", "train_labels")}
    np.savez(tmp_path / "gap.npz", **content, class_names=np.array(["a", "b", "c", "d"]))
    findings = look(tmp_path, config(tmp_path / "gap.npz", *QUICK))
    assert findings.warnings == ["data: 1 of 4 classes have no training images (c): check how labels are made"]
    assert "classes of 0 to 16" in findings.lines[0]


def test_a_good_teacher_raises_no_doubt(images: Path, tmp_path: Path) -> None:
    findings = look(tmp_path, config(images, *KNOWING, *RAW))
    assert findings.lines[1] == (
        "teacher   Knowing, 6 parameters: scores 100.0% on 40 validation images, chance is 25.0%"
    )
    assert findings.warnings == []


@pytest.mark.parametrize(
    "wrong", [("teacher.mean=[0.9]", "teacher.std=[0.1]"), (*RAW, "+teacher.arguments={shift: 1}")]
)
def test_a_teacher_no_better_than_chance_is_doubted(images: Path, tmp_path: Path, wrong: tuple[str, ...]) -> None:
    """Statistics of other images, or classes in another order."""
    wrong = tuple(override.replace("+teacher", "teacher") for override in wrong)
    (warning,) = look(tmp_path, config(images, *KNOWING, *wrong)).warnings
    assert "on 40 validation images, chance is 25.0%: check teacher.mean, teacher.std" in warning
    assert "order of the classes" in warning


def answered(right: int, count: int) -> Evaluation:
    """So many of two classes' samples named right."""
    evaluation = Classification().evaluation(2)
    logits = torch.tensor([[1.0, 0.0]] * right + [[0.0, 1.0]] * (count - right))
    evaluation.update(logits, torch.zeros(count, dtype=torch.long), None)
    return evaluation


def test_the_margin_over_chance_is_the_binomial_tests() -> None:
    """Against the tail of the distribution, added up."""

    def tail(right: int, count: int, chance: float) -> float:
        terms = (math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(right, count + 1))
        return math.fsum(terms)

    for count, chance in ((512, 0.01), (40, 0.25), (100, 0.5)):
        verdicts = [answered(right, count).standing(chance).convincing for right in range(count + 1)]
        assert verdicts == [tail(right, count, chance) < 1e-3 for right in range(count + 1)]


# ------------------------------------------------------------------------------------------------ the step


def test_gradient_shares_are_those_of_the_terms_alone() -> None:
    torch.manual_seed(0)
    student, teacher = nn.Linear(5, 3), nn.Linear(5, 3)
    images, targets = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    module = DistillModule(student, teacher, KD(temperature=2.0, weight=0.7, label_weight=0.3))
    hardware = build.hardware(parse(config(Path("none"), "trainer=cpu")).trainer)
    found = measure(module, Batch(images, targets, torch.arange(6)), 6, 0, hardware)
    log_q, log_p = (network(images).div(2).log_softmax(1) for network in (student, teacher))
    terms = {
        "ce": 0.3 * F.cross_entropy(student(images), targets),
        "kd": 0.7 * 4 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True),
    }
    for name, term in terms.items():
        weight, bias = torch.autograd.grad(term, [student.weight, student.bias], retain_graph=True)
        assert found.pulls[name] == pytest.approx(float(torch.cat([weight.flatten(), bias]).norm()), rel=1e-5)
    assert found.idle == []


@pytest.mark.parametrize("name", ["kd", "dkd"])
def test_a_term_that_drowns_the_others_is_named_with_its_setting(images: Path, tmp_path: Path, name: str) -> None:
    settings = (f"method={name}", f"method.{name}.weight=1e6", "student.norm=none")
    (warning,) = look(tmp_path, config(images, *KNOWING, *RAW, *settings)).warnings
    assert warning.endswith(f"lower method.{name}.weight, or raise method.{name}.label_weight")


def test_terms_that_teach_nothing_or_explode_are_named(images: Path, tmp_path: Path) -> None:
    nothing = look(tmp_path, config(images, *QUICK, "method.kd.weight=0")).warnings
    assert nothing == ["kd has no gradient and teaches nothing: check method.kd.weight"]
    wild = look(tmp_path, config(images, *QUICK, "method.kd.weight=1e39")).warnings
    assert wild == ["the gradient of kd is not finite: lower method.kd.weight, or use trainer.precision=32-true"]


@pytest.mark.parametrize("method", ["dml", "tf_kd"])
def test_shares_without_a_teacher_are_known(images: Path, tmp_path: Path, method: str) -> None:
    findings = look(tmp_path, config(images, *QUICK, f"method={method}"))
    assert "trained first" in findings.lines[1]
    assert findings.lines[3].startswith("gradients at the student: ce ")


@pytest.mark.parametrize(
    "between", [("chain=[cnn4]",), ("generations=2",), ("teaching=ema",), ("teaching=ema", "method=fitnet")]
)
def test_shares_towards_a_teacher_that_is_still_to_be_trained_are_unknown(
    images: Path, tmp_path: Path, between: tuple[str, ...]
) -> None:
    findings = look(tmp_path, config(images, *KNOWING, *RAW, *between))
    assert findings.lines[3].endswith("shares are unknown until their teacher is trained")
    assert findings.warnings == []


MEASURED = ("memory", "time")  # lines that differ from look to look, as the process grows


def test_a_cache_is_neither_made_nor_asked(images: Path, tmp_path: Path) -> None:
    cache = ("teaching=cached", f"teaching.dir={tmp_path / 'cache'}")
    cached, live = (
        [
            line
            for line in look(tmp_path, config(images, *KNOWING, *RAW, *chosen)).lines
            if not line.startswith(MEASURED)
        ]
        for chosen in (cache, ())
    )
    assert cached == live
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("temperature", "held", "warned"), [(1, "100%", False), (100, "54%", True)])
def test_what_the_classes_that_are_kept_hold_is_said(
    images: Path, tmp_path: Path, temperature: int, held: str, warned: bool
) -> None:
    kept = ("teaching=cached", "teaching.top_k=1", f"teaching.temperatures=[{temperature}]")
    findings = look(tmp_path, config(images, *KNOWING, *RAW, *kept, f"method.kd.temperature={temperature}"))
    told = f"the 1 likeliest of 4 classes hold {held} of the teacher's mass at temperature {temperature} (kd)"
    assert f"answers   {told}" in findings.lines
    warnings = [warning for warning in findings.warnings if "lower method.kd.temperature" in warning]
    assert len(warnings) == warned


def test_a_term_that_trains_only_the_method_is_not_idle(images: Path, tmp_path: Path) -> None:
    """Factor transfer's paraphraser never reaches the student."""
    findings = look(tmp_path, config(images, *QUICK, "method=ft", "method.ft.weight=1"))
    assert "gradients of ce, ft, reconstruction" in findings.lines[3]
    assert findings.warnings == []


def test_the_step_is_taken_in_the_runs_precision(images: Path, tmp_path: Path) -> None:
    wide = ("student.width=16", "student.norm=none", "data.batch_size=32")
    full, half = (
        look(tmp_path, config(images, *KNOWING, *RAW, *wide, f"trainer.precision={chosen}"))
        for chosen in ("32-true", "bf16-mixed")
    )
    assert half.warnings == []
    assert _bytes_of(half, "activations") < 0.8 * _bytes_of(full, "activations")


def test_memory_is_that_of_weights_gradients_optimizer_and_what_autograd_keeps() -> None:
    student = nn.Sequential(nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 3))
    teacher = nn.Linear(50, 3)
    module = DistillModule(student, teacher, KD(), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    hardware = build.hardware(parse(config(Path("none"), "trainer=cpu")).trainer)
    batch = Batch(torch.randn(64, 50), torch.zeros(64, dtype=torch.long), None)
    memory = measure(module, batch, 128, 1000, hardware).memory
    direct = Batch(torch.randn(128, 50), torch.zeros(128, dtype=torch.long), None)
    assert memory == measure(module, direct, 128, 1000, hardware).memory
    learnt = 4 * (50 * 20 + 20 + 20 * 3 + 3)
    assert memory.weights == learnt + 4 * (50 * 3 + 3)
    assert memory.gradients == memory.optimizer == learnt
    assert memory.images == 1000
    kept = 4 * 128 * (50 + 20)  # images and hidden values; the loss keeps a few (N, 3) beside
    assert kept <= memory.activations <= kept + 12 * 4 * 128 * 3
    assert memory.total == memory.weights + 2 * learnt + memory.activations + 1000


def test_memory_told_is_near_what_the_process_takes(images: Path, tmp_path: Path) -> None:
    """Of a run from its start to its end, most of which is the interpreter and its libraries."""
    peak = (
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))"
    )
    code = f"import atexit, resource, sys; atexit.register(lambda: {peak}); from distill.cli import train; train()"
    here = (f"hydra.run.dir={tmp_path / 'run'}", "data=arrays", f"data.path={images}", *QUICK)
    done = subprocess.run(
        [sys.executable, "-c", code, *here], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600
    )
    said = next(line for line in done.stdout.splitlines() if line.startswith("memory")).split()
    told = float(said[2]) * 1024 ** ("B", "KiB", "MiB", "GiB").index(said[3])
    taken = int(done.stdout.split("peak ")[1])
    assert taken / 1.5 < told < taken * 1.5


def _bytes_of(findings: Findings, part: str) -> float:
    (line,) = (line for line in findings.lines if line.startswith("memory"))
    words = line.replace(",", " ").split()
    place = words.index(part)
    return float(words[place + 1]) * 1024 ** ("B", "KiB", "MiB", "GiB").index(words[place + 2].strip(")"))


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("method=[kd,at]", "method.at.student_layers=[layr2]", "method.at.teacher_layers=[layer2]"),
            "method.at.student_layers=[layr2]: no layer matches 'layr2'; did you mean layer2? (show=layers lists them)",
        ),
        (
            ("method=at", "method.at.student_layers=[layer2]", "method.at.teacher_layers=[stage*]"),
            "method.at.teacher_layers=[stage*]: no layer matches 'stage*'",
        ),
        (
            ("method=[kd,at]", "method.at.student_layers=[layer2]", "method.at.teacher_layers=[layer2,layer3]"),
            "method.at.student_layers=['layer2']: 1 layers, but teacher_layers=['layer2', 'layer3']: 2",
        ),
        (
            ("model@student=custom", "student.target=test_preflight.Forgetful"),
            "student: a training step fails: lost in training (HYDRA_FULL_ERROR=1 shows where)",
        ),
        (
            ("model@student=custom", "student.target=torch.nn.Flatten"),
            "student: Flatten has 64 outputs, and grey has 4 classes: give it 4 outputs",
        ),
    ],
)
def test_errors_name_the_setting(images: Path, tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError) as error:
        run(config(images, *QUICK, *overrides), tmp_path)
    assert str(error.value).startswith(message)
    assert not (tmp_path / "teacher.safetensors").exists()


class Forgetful(nn.Module):
    """Works until it is trained."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("lost in training")
        return self.head(images.flatten(1))


# ------------------------------------------------------------------------------------------------ show=layers


def test_layers_are_listed_and_nothing_is_written(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = ("model@teacher=resnet14", "model@student=resnet8")
    assert run(config(images, *QUICK, *networks, "show=layers"), tmp_path) is None
    brief = capsys.readouterr().out
    assert run(config(images, *QUICK, *networks, "show=all_layers"), tmp_path) is None
    full = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert "student resnet8, teacher resnet14" in brief
    row = next(line for line in brief.splitlines() if " layer2 " in line)
    assert " ".join(row.replace("│", " ").split()) == "layer2 32 x 4 x 4 <-> layer2 32 x 4 x 4"
    assert "layer2.0.conv1" not in brief
    assert "layer2.0.conv1" in full
    assert "layers inside of these: show=all_layers" in brief
    assert "inside of these" not in full


def test_the_command_lists_layers_without_a_run_directory(images: Path, forks: ForkServer, tmp_path: Path) -> None:
    done = forks.run(str(ROOT / "train.py"), "show=layers", "data=arrays", f"data.path={images}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "student cnn4, teacher cnn24" in done.stdout
    assert list(tmp_path.iterdir()) == []
