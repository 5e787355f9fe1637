"""What can be done with a run that is over: score it again, export its student."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from distill.cli import CONFIGS
from distill.data.corruptions import corrupt
from distill.data.digits import digits
from distill.errors import SettingError
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.finished import load_run
from distill.models.preprocessing import from_metadata
from distill.models.weights_file import read_metadata
from distill.tasks import Classification


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


def test_evaluate_finds_what_the_run_found(finished: Any, command: Any, tmp_path: Path) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "run")
    done = command("scripts/evaluate.py", f"run={run}")
    said = json.loads(done.stdout)
    assert done.stderr == ""
    assert json.loads((run / "evaluation-digits.json").read_text()) == said
    before = json.loads((finished.directory / "summary.json").read_text())
    assert (said["data"], said["images"]) == ("digits", 500)
    for stage in ("teacher", "baseline", "student"):
        for name in ("accuracy", "agreement", "kl", "ece"):
            assert said[stage][name] == before[stage][name], (stage, name)


def test_evaluate_on_other_data(finished: Any, tmp_path: Path) -> None:
    val = digits().val
    chosen = val.images[:40]
    arrays = {"train_images": chosen, "val_images": chosen, "train_labels": val.targets[:40],
              "val_labels": val.targets[:40]}  # fmt: skip
    np.savez(
        tmp_path / "forty.npz",
        class_names=[str(n) for n in range(10)],
        **{name: t.squeeze(1).numpy() if t.ndim == 4 else t.numpy() for name, t in arrays.items()},
    )
    run = shutil.copytree(finished.directory, tmp_path / "run")
    said = evaluate_run(composed("evaluate", f"run={run}", "data=arrays", f"data.path={tmp_path}/forty.npz"))
    networks = load_run(run).networks()
    with torch.no_grad():
        logits = {name: networks[name](chosen).logits for name in ("student", "teacher")}
    evaluation = Classification().evaluation(10)
    evaluation.update(logits["student"], val.targets[:40], logits["teacher"])
    expected = evaluation.scored().values
    assert said["student"]["accuracy"] == expected["accuracy"]
    assert said["student"]["kl"] == pytest.approx(expected["kl"], rel=1e-5)
    assert json.loads((run / "evaluation-forty.json").read_text())["images"] == 40


def test_calibration_speed_and_images_that_suffered(finished: Any, tmp_path: Path) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "run")
    scores = evaluate_run(composed("evaluate", f"run={run}", "speed=true", "corruptions=[contrast,brightness]"))
    said = json.loads((run / "evaluation-digits.json").read_text())
    assert said["calibration"]["student"]["ece"] == pytest.approx(scores["student"]["ece"], abs=1e-6)
    assert set(said["calibration"]["student"]) == {"ece", "temperature", "ece_scaled"}
    assert said["speed"]["student"]["latency_ms"] > 0
    assert said["speed"]["teacher"]["samples_per_second"] > 0
    val, network = digits().val, load_run(run).networks()["student"].eval()
    images = corrupt("contrast", val.inputs(torch.arange(500)), torch.arange(500), 5)
    with torch.no_grad():
        right = (network(images).logits.argmax(1) == val.targets).double().mean()
    found = said["corruptions"]
    assert found["contrast"]["student"]["5"] == pytest.approx(float(right))
    assert found["contrast"]["student"]["5"] < scores["student"]["accuracy"]
    means = [found[kind]["teacher"]["mean"] for kind in ("contrast", "brightness")]
    assert found["mean"]["teacher"] == pytest.approx(sum(means) / 2)
    with pytest.raises(SettingError, match=r"corruptions=jpg: there is no such kind; did you mean jpeg\?"):
        evaluate_run(composed("evaluate", f"run={run}", "corruptions=[jpg]"))


def test_classes_are_matched_by_their_names(finished: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "run")
    val = digits().val
    arrays = {"val_images": val.show(torch.arange(60))[:, 0].numpy(), "val_labels": val.targets[:60].numpy()}
    digits_as = {"same": [*"0123456789"], "swapped": [*"1023456789"], "words": ["zero", *"123456789"]}
    scores = {}
    logging.getLogger("distill").propagate = True
    for name, classes in digits_as.items():
        places = np.array([classes.index(str(n)) if str(n) in classes else 0 for n in range(10)])
        labels = places[arrays["val_labels"]]
        np.savez(tmp_path / f"{name}.npz", class_names=classes, **arrays | {"val_labels": labels})
        scores[name] = evaluate_run(
            composed("evaluate", f"run={run}", "data=arrays", f"data.path={tmp_path}/{name}.npz")
        )
        assert ("without names" in caplog.text) == (name == "words")
    assert scores["same"] == scores["swapped"] == scores["words"]


def written(root: Path, classes: str, count: int) -> Path:
    """Validation digits as grey files in a folder for each class."""
    val = digits().val
    for label in classes:
        (root / label).mkdir(parents=True)
        chosen = (val.targets == int(label)).nonzero().flatten()[:count].tolist()
        for index in chosen:
            Image.fromarray(val.show(torch.tensor([index]))[0, 0].numpy()).save(root / label / f"{index}.png")
    return root


def test_a_folder_of_classes_is_scored_whole_and_may_hold_some_of_the_classes(
    finished: Any, command: Any, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "run")
    root = written(tmp_path / "some", "83", 12)
    done = command("scripts/evaluate.py", f"run={run}", "data=image_folder", f"data.root={root}", "data.channels=1")
    said = json.loads(done.stdout)
    val = digits().val
    chosen = torch.cat([(val.targets == label).nonzero().flatten()[:12] for label in (3, 8)])
    with torch.no_grad():
        logits = load_run(run).networks()["student"].eval()(val.show(chosen)).logits
    assert said["images"] == 24
    assert said["student"]["accuracy"] == float((logits.argmax(1) == val.targets[chosen]).double().mean())


def test_a_split_is_chosen(finished: Any, tmp_path: Path) -> None:
    run = shutil.copytree(finished.directory, tmp_path / "run")
    counts = {"train": 1, "Val": 2, "seg_test": 3}
    for name, count in counts.items():
        written(tmp_path / "root" / name, "0123456789", count)
    given = ("evaluate", f"run={run}", "data=image_folder", f"data.root={tmp_path}/root", "data.channels=1")
    for split, count in {"null": 20, "train": 10, "val": 20, "test": 30}.items():
        evaluate_run(composed(*given, f"split={split}"))
        name = "root" if split == "null" else f"root-{split}"
        assert json.loads((run / f"evaluation-{name}.json").read_text())["images"] == count
    evaluate_run(composed("evaluate", f"run={run}", "split=train"))
    assert json.loads((run / "evaluation-digits-train.json").read_text())["images"] == 1297
    with pytest.raises(SettingError, match="split=test: data digits has no such split, but train, val"):
        evaluate_run(composed("evaluate", f"run={run}", "split=test"))
    with pytest.raises(SettingError, match="split='half': must be one of train, val, test or null"):
        evaluate_run(composed("evaluate", f"run={run}", "split=half"))


def test_what_does_not_fit_the_run_is_named(finished: Any, tmp_path: Path) -> None:
    images, labels = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "rgb.npz", val_images=images, val_labels=labels)
    with pytest.raises(SettingError, match=r"data: rgb has images of 3 channels, .* digits with 1; must be the same"):
        evaluate_run(composed("evaluate", f"run={finished.directory}", "data=arrays", f"data.path={tmp_path}/rgb.npz"))
    (written(tmp_path / "root", "01", 1) / "1").rename(tmp_path / "root" / "eleven")
    folder = ("evaluate", f"run={finished.directory}", "data=image_folder", f"data.root={tmp_path}/root")
    with pytest.raises(SettingError, match=r"root has images of 3 channels, .*; must be data.channels=1"):
        evaluate_run(composed(*folder))
    with pytest.raises(SettingError, match=r"root has classes that the run doesn't know: eleven; its classes are 0, 1"):
        evaluate_run(composed(*folder, "data.channels=1"))


def test_a_run_that_is_not_there_or_not_over(finished: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"run=.*: no config\.yaml there; give the directory of a run"):
        load_run(tmp_path)
    run = shutil.copytree(finished.directory, tmp_path / "run")
    (run / "student.safetensors").unlink()
    with pytest.raises(SettingError, match=r"run=.*: not finished; go on with `python train.py resume=.*run`"):
        load_run(run)


def test_torch_export_through_the_command(finished: Any, command: Any, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "mine.pt2"
    done = command("scripts/export.py", f"run={finished.directory}", f"output={target}")
    assert re.search(r"parity: logits (are the same|differ by at most \S+ of their size) on 8 images", done.stdout)
    said = re.search(
        r"latency of one image: pt2 (\S+) ms \(.*\), original (\S+) ms \(.*\); threads of the CPU: \d+", done.stdout
    )
    assert said is not None
    assert min(map(float, said.groups())) > 0
    assert "takes (N, 1, 8, 8) float32 images in [0, 1]; gives a logit for each of: 0, 1, 2," in done.stdout
    assert done.stderr == ""
    program = torch.export.load(target).module()
    images = torch.rand(5, 1, 8, 8)  # another batch than it was traced with
    with torch.no_grad():
        expected = load_run(finished.directory).network("student").eval()(images).logits
    torch.testing.assert_close(program(images), expected, rtol=1e-4, atol=1e-5)


def test_safetensors(finished: Any, tmp_path: Path) -> None:
    target = export_run(
        composed("export", f"run={finished.directory}", "format=safetensors", f"output={tmp_path}/mine.safetensors")
    )
    exported, own = load_file(target), load_file(finished.directory / "student.safetensors")
    assert exported.keys() == own.keys()
    assert all(torch.equal(exported[name], own[name]) for name in own)
    with safe_open(target, "pt") as file:
        about = {name: json.loads(value) for name, value in file.metadata().items() if name != "name"}
    prepare = load_run(finished.directory).network("student").preprocess
    assert about["mean"] == pytest.approx(prepare.mean.flatten().tolist(), abs=1e-6)
    assert about["std"] == pytest.approx(prepare.std.flatten().tolist(), abs=1e-6)
    assert (about["channels"], about["size"], about["classes"]) == (1, 8, [*"0123456789"])
    known = from_metadata(read_metadata(finished.directory / "student.safetensors"))
    assert known is not None
    assert from_metadata(read_metadata(target)) == known  # as good a checkpoint as the run's own file


def test_onnx(finished: Any, tmp_path: Path) -> None:
    target = export_run(composed("export", f"run={finished.directory}", "format=onnx", f"output={tmp_path}/mine.onnx"))
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    images = torch.rand(5, 1, 8, 8)
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        expected = load_run(finished.directory).network("student").eval()(images).logits
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_format_is_named(finished: Any) -> None:
    with pytest.raises(SettingError, match="format='tflite': must be one of onnx, pt2, safetensors"):
        export_run(composed("export", f"run={finished.directory}", "format=tflite"))
