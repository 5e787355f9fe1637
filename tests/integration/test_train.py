"""The main job, started as its users start it."""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import ForkServer, Process
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from distill.errors import SettingError
from distill.experiment.scoring import installed
from distill.models.cnn import cnn
from distill.training.checkpoint_files import damage

Read = Callable[[Path], dict[str, Tensor]]
TINY = ("trainer.max_epochs=2", "teacher.max_epochs=2", "trainer.precision=32-true")
STAGES = ("teacher", "baseline", "student")


def summary(directory: Path) -> Any:
    return json.loads((directory / "summary.json").read_text())


def found(directory: Path) -> dict[str, Any]:
    """What a run found out, without times."""
    timed = {"latency_ms", "images_per_second", "inference"}
    said = summary(directory)
    return {s: {k: v for k, v in said[s].items() if k not in timed} for s in STAGES if said[s]}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------ the run directory


def test_the_run_directory(finished: Any) -> None:
    files = {str(f.relative_to(finished.directory)) for f in finished.directory.rglob("*") if f.is_file()}
    logs = {name for name in files if "tfevents" in name}
    assert {name for name in files - logs if not name.startswith((".hydra/", "tensorboard/"))} == {
        ".lock", "config.yaml", "summary.json", "report.html", "report.md", "train.log", "preflight.txt",
        "warnings.txt", "provenance.json",
        *(f"figures/{name}.png" for name in ("cost", "curves", "losses", "terms", "confusion", "agreement", "kl",
          "disagreements", *(f"reliability_{stage}" for stage in STAGES))),
        *(f"{stage}.{ending}" for stage in STAGES for ending in ("safetensors", "json")),
        *(f"checkpoints/{stage}/{name}" for stage in STAGES
          for name in ("last.ckpt", "last.previous.ckpt", "record.json")),
        *(f"checkpoints/{stage}.compiled.json" for stage in STAGES),
    }  # fmt: skip
    assert {Path(name).parts[:2] for name in logs} == {("tensorboard", stage) for stage in STAGES}


def test_the_summary(finished: Any) -> None:
    said = summary(finished.directory)
    assert (said["data"], said["method"], said["seed"], said["precision"]) == ("digits", ["kd"], 0, "32-true")
    assert [said[stage]["name"] for stage in STAGES] == ["cnn24", "cnn4", "cnn4"]
    assert all(0 <= said[stage]["accuracy"] <= 1 for stage in STAGES)
    assert said["teacher"]["accuracy"] > 0.9
    assert said["teacher"]["parameters"] > 10 * said["student"]["parameters"] > 0
    assert said["teacher"]["flops"] > 10 * said["student"]["flops"] > 0
    for stage in STAGES:
        assert said[stage]["latency_ms"] > 0
        assert said[stage]["images_per_second"] > 0
        assert 0 < said["seconds"][stage] < said["seconds"]["total"]
    assert 0 <= said["student"]["agreement"] <= 1
    assert said["student"]["kl"] > 0
    assert 0 <= said["student"]["ece"] <= 1
    assert said["gain_points"] == pytest.approx(100 * (said["student"]["accuracy"] - said["baseline"]["accuracy"]))


def test_the_terminal_shows_plain_lines_and_the_table(finished: Any) -> None:
    # Two epochs teach the student nothing, and that is said.
    assert all(line.startswith("WARNING: student ends at ") for line in finished.err.splitlines())
    assert "\x1b" not in finished.out  # no colours, and no bars that move, on a pipe
    lines = finished.out.splitlines()
    assert not any("fontManager" in line for line in lines)
    said = summary(finished.directory)
    for stage in STAGES:
        epochs = [line for line in lines if line.startswith(stage) and " epoch " in line]
        assert [line.split()[2] for line in epochs] == ["1/2", "2/2"]
        assert all("accuracy" in line and "images/s" in line for line in epochs)
        (row,) = (line for line in lines if line.startswith(f"  {stage} "))
        assert f"{said[stage]['accuracy']:.1%}" in row
    assert any(f"{said['gain_points']:+.1f} points" in line for line in lines)
    assert f"report       {finished.directory}/report.html" in lines
    assert f"TensorBoard  tensorboard --logdir {finished.directory}/tensorboard" in lines


def test_the_log_names_the_stages(finished: Any) -> None:
    log = (finished.directory / "train.log").read_text()
    assert "1297 training images, of which the student sees 323; 500 validation images" in log
    assert all(f"{stage} trained in" in log for stage in STAGES)
    assert all("student ends at " in line for line in log.splitlines() if "WARNING" in line)


def test_the_config_reproduces_the_run(finished: Any, command: Any, weights: Read, tmp_path: Path) -> None:
    config = OmegaConf.load(finished.directory / "config.yaml")
    assert OmegaConf.missing_keys(config) == set()
    assert "${" not in (finished.directory / "config.yaml").read_text()
    again = tmp_path / "again"
    command("train.py", "--config-dir", str(finished.directory), "--config-name", "config", f"hydra.run.dir={again}")
    for stage in STAGES:
        name = f"{stage}.safetensors"
        assert same(weights(finished.directory / name), weights(again / name)), stage
    assert found(again) == found(finished.directory)
    assert (again / "config.yaml").read_text() == (finished.directory / "config.yaml").read_text()


# ------------------------------------------------------------------------------------------------------ TensorBoard


@pytest.fixture(scope="module")
def events(finished: Any) -> dict[str, Any]:
    """What TensorBoard reads of each stage."""
    sizes = {"scalars": 0, "images": 0, "tensors": 0}
    return {s: EventAccumulator(str(finished.directory / "tensorboard" / s), sizes).Reload() for s in STAGES}


def test_scalars_of_each_stage(events: dict[str, Any], finished: Any) -> None:
    alone = {"train/loss", "train/ce", "train/accuracy", "train/learning_rate", "train/images_per_second",
             "val/accuracy", "val/ce"}  # fmt: skip
    taught = {"train/kd", "train/agreement", "train/teacher_entropy", "val/agreement", "val/kl"}
    for stage, wanted in (("teacher", alone), ("baseline", alone), ("student", alone | taught)):
        tags = {tag for tag in events[stage].Tags()["scalars"] if tag.startswith(("train/", "val/"))}
        of_the_end = {"val/ece", "val/f1", "val/mcc", "val/gain_points"} if stage == "student" else set()
        assert tags == wanted | of_the_end, stage
        for tag in wanted:
            points = {event.step: event.value for event in events[stage].Scalars(tag)}
            assert len(points) == 2  # an epoch each
            assert np.isfinite(list(points.values())).all()
        last = events[stage].Scalars("val/accuracy")[-1].value
        assert last == pytest.approx(summary(finished.directory)[stage]["accuracy"], abs=1e-6)
    total, kd, ce = (events["student"].Scalars(f"train/{name}")[-1].value for name in ("loss", "kd", "ce"))
    assert total == pytest.approx(0.9 * kd + 0.1 * ce, rel=1e-5)
    weighted = [events["student"].Scalars(f"weighted/{name}")[-1].value for name in ("kd", "ce")]
    assert weighted == pytest.approx([0.9 * kd, 0.1 * ce], rel=1e-5)
    weights = {tag: events["student"].Scalars(tag)[-1].value for tag in ("weight/kd", "weight/ce")}
    assert weights == pytest.approx({"weight/kd": 0.9, "weight/ce": 0.1})


def test_the_config_the_verdict_and_the_figures(events: dict[str, Any], finished: Any) -> None:
    student = events["student"]
    texts = {tag: student.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in student.Tags()["tensors"]
             if tag.endswith("/text_summary")}  # fmt: skip
    config = OmegaConf.create(texts["config/text_summary"])  # indented: a block of code in Markdown
    assert config.method.kd.temperature == 4
    assert "points" in texts["verdict/text_summary"]
    assert set(student.Tags()["images"]) == {
        "cost/latency", *(f"calibration/{stage}" for stage in STAGES),
        *(f"beside the teacher/{name}" for name in ("confusion", "disagreements", "agreement by confidence",
          "kl by confidence")),
    }  # fmt: skip
    for tag in student.Tags()["images"]:
        (image,) = student.Images(tag)
        assert image.encoded_image_string.startswith(b"\x89PNG")
        assert image.width > 300


def test_hparams_with_the_final_metrics(events: dict[str, Any], finished: Any) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    student, said = events["student"], summary(finished.directory)
    content = student.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    given = start.session_start_info.hparams
    assert len(given) < 20
    assert given["method"].string_value == "kd"
    assert (given["temperature"].number_value, given["seed"].number_value) == (4, 0)
    assert (given["student"].string_value, given["teacher"].string_value) == ("cnn4", "cnn24")
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {f"val/{n}" for n in ("accuracy", "agreement", "kl", "ece", "f1", "mcc", "gain_points")}
    assert student.Scalars("val/accuracy")[-1].value == pytest.approx(said["student"]["accuracy"])
    (gain,) = student.Scalars("val/gain_points")
    assert gain.value == pytest.approx(said["gain_points"])


# ---------------------------------------------------------------------------------- what a student does not depend on


def arriving_in_evaluation_mode(num_classes: int, in_channels: int) -> nn.Module:
    return cnn(num_classes=num_classes, in_channels=in_channels, width=4, norm="batch").eval()


def test_baseline_and_student_train_in_the_same_mode_beside_a_loaded_teachers_line(
    run_here: Any, weights: Read, finished: Any
) -> None:
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    own = ("model@student=custom", "student.target=test_train.arriving_in_evaluation_mode", "trainer.compile=false")
    still = run_here(teacher, *own, "optimizer.lr=0", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2")
    baseline, student = (weights(still / f"{stage}.safetensors") for stage in ("baseline", "student"))
    assert same(baseline, student)  # the statistics of BatchNorm too
    moved = [value for name, value in student.items() if "running_mean" in name]
    assert moved
    assert all(value.any() for value in moved)
    history = json.loads((still / "checkpoints/baseline/record.json").read_text())["history"]
    assert ["val/accuracy" in epoch for epoch in history] == [False, True]
    events = EventAccumulator(str(still / "tensorboard/teacher"), {"scalars": 0}).Reload()
    line = [event.value for event in events.Scalars("val/accuracy")]
    assert line == pytest.approx([summary(still)["teacher"]["accuracy"]] * 2)


def test_baseline_and_student_start_from_the_same_weights(run_here: Any, weights: Read, finished: Any) -> None:
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    still = run_here(teacher, "optimizer.lr=0", "trainer.max_epochs=1")
    baseline, student = (weights(still / f"{stage}.safetensors") for stage in ("baseline", "student"))
    assert same(baseline, student)
    moved = weights(finished.directory / "student.safetensors")
    assert not same(student, moved)
    assert not same(weights(finished.directory / "baseline.safetensors"), moved)


def test_the_student_is_the_same_with_a_loaded_teacher_and_without_a_baseline(
    run_here: Any, weights: Read, finished: Any
) -> None:
    checkpoint = finished.directory / "teacher.safetensors"
    loaded = run_here(*TINY, f"teacher.checkpoint={checkpoint}", "baseline=false")
    assert not (loaded / "teacher.safetensors").exists()
    assert not (loaded / "baseline.safetensors").exists()
    assert same(weights(loaded / "student.safetensors"), weights(finished.directory / "student.safetensors"))
    said, before = summary(loaded), summary(finished.directory)
    assert said["student"]["kl"] == before["student"]["kl"]
    assert said["teacher"]["accuracy"] == before["teacher"]["accuracy"]
    assert (said["baseline"], said["gain_points"], said["seconds"]["teacher"]) == (None, None, None)


def test_users_images_several_methods_and_no_logger(run_here: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(["cat", "dog", "<b>owl</b>"])}
    for split, count in (("train", 90), ("val", 31)):
        labels = np.arange(count) % 3
        noise = rng.integers(0, 90, (count, 10, 10, 3))
        noise[np.arange(count), :, :, labels] += 120
        arrays |= {f"{split}_images": noise.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "mine.npz", **arrays)
    run = run_here(
        "data=arrays", f"data.path={tmp_path}/mine.npz", "data.batch_size=16", "method=[kd,fitnet]", "logger=none",
        "data.augment={flip: true, mixup: 0.2}", "optimizer=sgd", "scheduler=constant", *TINY,
    )  # fmt: skip
    said = summary(run)
    assert (said["data"], said["method"]) == ("mine", ["kd", "fitnet"])
    assert said["teacher"]["accuracy"] > 0.5
    assert not (run / "tensorboard").exists()
    history = json.loads((run / "checkpoints/student/record.json").read_text())["history"]
    assert {"train/kd", "train/fitnet", "train/ce"} <= set(history[0])


# ----------------------------------------------------------------------------------------------------------- resume


def test_a_lost_student_is_made_again(run_here: Any, weights: Read, finished: Any, tmp_path: Path) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "copy")
    for name in ("student.safetensors", "summary.json", "report.html"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints" / "student")
    # The other stages are read from their files: their times are those of the first attempt.
    run_here(f"resume={run}", "trainer.max_epochs=77", "seed=5")
    assert same(weights(run / "student.safetensors"), weights(finished.directory / "student.safetensors"))
    assert found(run) == found(finished.directory)
    seconds = summary(run)["seconds"]
    assert seconds["teacher"] == summary(finished.directory)["seconds"]["teacher"]
    assert seconds["total"] > seconds["teacher"] + seconds["baseline"] + seconds["student"]
    assert (run / "report.html").is_file()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of images, which data workers decode."""
    root = tmp_path_factory.mktemp("photographs")
    for split, name, number in itertools.product(("train", "val"), "ab", range(20)):
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("sent", "processes", "begun"),
    [
        (signal.SIGINT, 1, "checkpoints/student/last.ckpt"),
        (signal.SIGUSR1, 1, "checkpoints/student/last.ckpt"),
        (signal.SIGTERM, 1, "config.yaml"),
        (signal.SIGTERM, 2, "checkpoints/student/last.ckpt"),
    ],
)
def test_a_signal_to_all_processes_ends_a_run_with_a_line_that_says_how_to_go_on(
    sent: signal.Signals, processes: int, begun: str, photographs: Path, forks: ForkServer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = training_without_end(forks, run, photographs, processes)
    while process.poll() is None and not (run / begun).is_file():
        time.sleep(0.005)
    os.killpg(process.pid, sent)
    said = ended(process)
    lines = [line for line in said.splitlines() if not line.startswith("WARNING: ")]
    assert lines == [f"stopped by {sent.name}; go on with resume={run}"]
    assert process.returncode == 128 + sent
    if begun.endswith(".ckpt"):
        assert damage(run / begun) is None


def test_a_killed_process_of_several_is_told_with_the_way_to_go_on(
    photographs: Path, forks: ForkServer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = training_without_end(forks, run, photographs, processes=2)
    while process.poll() is None and not (run / "checkpoints/student/last.ckpt").is_file():
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = [child for child in children if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text()]
    assert len(ranks) == 2
    os.kill(int(ranks[-1]), signal.SIGKILL)
    said = ended(process)
    (line,) = [line for line in said.splitlines() if not line.startswith("WARNING: ")]
    assert re.fullmatch(
        rf"error: process \d of 2 was killed \(SIGKILL\); go on with resume={re.escape(str(run))}", line
    )
    assert process.returncode == 1


def training_without_end(forks: ForkServer, run: Path, photographs: Path, processes: int) -> Process:
    """A run with data workers, in a process group of its own."""
    settings = ["teacher.max_epochs=0", "baseline=false", "trainer.max_epochs=1000", "trainer.precision=32-true",
                "data=image_folder", f"data.root={photographs}", "data.in_memory=false", "data.batch_size=8",
                "data.workers=1", "logger=none", f"hydra.run.dir={run}"]  # fmt: skip
    if processes > 1:
        settings += ["preflight=false", "trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}"]
    return forks.start("train.py", *settings, start_new_session=True, spawns=processes if processes > 1 else 0)


def ended(process: Process) -> str:
    """What it says at its end, on stderr; none of its processes is left when it doesn't end."""
    try:
        return process.communicate(timeout=60)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_run_goes_on_bit_for_bit(
    run_here: Any, weights: Read, finished: Any, forks: ForkServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    settings = [teacher, "baseline=false", "trainer.max_epochs=4", "trainer.precision=32-true",
                "trainer.log_every_n_steps=3"]  # fmt: skip
    killed = tmp_path / "killed"
    checkpoint = killed / "checkpoints/student/last.ckpt"
    process = forks.start("train.py", *settings, "checkpoint.every_steps=7", f"hydra.run.dir={killed}")
    while process.poll() is None and not checkpoint.is_file():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "student.safetensors").exists()
    assert 7 <= torch.load(checkpoint, weights_only=True)["global_step"] < 40
    time.sleep(1)  # TensorBoard reads files in the order of their names, which tell seconds
    run_here(*settings, "checkpoint.every_steps=9", "resume=auto", name="killed")
    assert f"resume=auto: goes on with {killed}" in capsys.readouterr().out
    whole = run_here(*settings)
    assert same(weights(killed / "student.safetensors"), weights(whole / "student.safetensors"))
    assert found(killed) == found(whole)
    histories = [
        [{name: value for name, value in epoch.items() if "per_second" not in name} for epoch in record["history"]]
        for record in (json.loads((run / "checkpoints/student/record.json").read_text()) for run in (killed, whole))
    ]
    assert len(histories[0]) == 4
    assert histories[0] == histories[1]
    assert curves(killed) == curves(whole)


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard draws of the student, but for how fast it trained."""
    events = EventAccumulator(str(run / "tensorboard/student"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "per_second" not in tag]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_another_run_is_not_taken_for_this_one(run_here: Any, finished: Any, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    with pytest.raises(SettingError, match=r"hydra\.run\.dir=.*run: a run with .* lies there"):
        run_here("seed=9", name="run")


def test_nothing_to_resume_is_named(run_here: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"resume=.*nowhere: no config\.yaml there; give the directory of a run"):
        run_here(f"resume={tmp_path}/nowhere")


# ----------------------------------------------------------------------------------------------- sweeps and mistakes


def test_a_sweep_over_seeds_and_its_comparison(command: Any, weights: Read, finished: Any, tmp_path: Path) -> None:
    teacher = f"teacher.checkpoint={finished.directory}/teacher.safetensors"
    command("train.py", "-m", "seed=1,2", teacher, "trainer.max_epochs=1", f"hydra.sweep.dir={tmp_path}")
    runs = sorted(file.parent for file in tmp_path.glob("*/summary.json"))
    assert [summary(run)["seed"] for run in runs] == [1, 2]
    assert not same(*(weights(run / "student.safetensors") for run in runs))
    logs = [(run / "train.log").read_text() for run in runs]
    assert all(log.count("student trained in") == 1 for log in logs)  # each its own
    table = command("scripts/compare.py", "--markdown", str(tmp_path)).stdout.splitlines()
    assert len(table) == 3
    cells = [cell.strip() for cell in table[2].strip("|").split("|")]
    accuracies = [100 * summary(run)["student"]["accuracy"] for run in runs]
    assert cells[1] == "2"
    assert cells[4] == f"{np.mean(accuracies):.1f} ± {np.std(accuracies, ddof=1):.1f}"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.kd.temprature=2", "error: method.kd.temprature is not a setting; did you mean method.kd.temperature?"),
        ("model@student=cnn5", "error: model@student=cnn5: there is no configs/model/cnn5.yaml; did you mean cnn4?"),
        ("method.kd.temperature=0", "error: method.kd.temperature=0: must be a finite number above zero"),
        ("optimizer.lr=fast", "error: optimizer.lr='fast': must be a number"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(command: Any, override: str, line: str, tmp_path: Path) -> None:
    done = command("train.py", override, f"hydra.run.dir={tmp_path}", status=2)
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith(line)


def test_a_traceback_on_demand(new_command: Any, tmp_path: Path) -> None:
    done = new_command("train.py", "sead=1", f"hydra.run.dir={tmp_path}", status=1, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr


def test_a_rate_far_too_high_is_one_line(run_here: Any, finished: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from distill.cli import one_line_errors

    settings = [f"teacher.checkpoint={finished.directory}/teacher.safetensors", "baseline=false", "optimizer=sgd",
                "optimizer.lr=1e30"]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        one_line_errors(lambda: run_here(*settings))
    assert caught.value.code == 2
    rehearsed, line = capsys.readouterr().err.splitlines()
    assert rehearsed.startswith("WARNING: student: in the rehearsal, ")
    assert re.search(r"in step \d+ \(epoch 1, .*\): lower optimizer\.lr", line)


def test_help_is_written_for_people(new_command: Any) -> None:
    text = new_command("train.py", "--help").stdout
    assert "Train a small student network" in text
    for choice in ("data=NAME", "model@teacher=NAME", "method.kd.temperature=4", "resume=DIR", "fitnet", "cnn24"):
        assert choice in text
    # Every override that the examples show is one that composes.
    from hydra import compose, initialize_config_dir

    from distill.cli import CONFIGS

    examples = [line.split()[2:] for line in text.splitlines() if line.strip().startswith("python train.py ")]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for overrides in examples:
            compose("train", [o for o in overrides if "=" in o and "[SETTING" not in o and "," not in o])
    assert len(examples) >= 4


def test_a_checkout_that_is_not_installed_has_no_version_and_says_so() -> None:
    assert installed("torch") == version("torch")
    assert installed("a-package-that-nobody-has") == "not installed"
