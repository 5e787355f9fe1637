"""What a run keeps of its networks builds them again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment import pipeline
from distill.experiment.directory import save_config
from distill.experiment.evaluate import evaluate_run
from distill.experiment.file_to_input import in_words, input_steps
from distill.experiment.finished import check_kept, keep_networks, load_run
from distill.methods.replaced_head import ProjectedHead, WithReplacedHead
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.models.weights_file import save_weights

SCORES: dict[str, float | None] = {"accuracy": 0.5, "ece": 0.1, "agreement": None, "kl": None}
STUDENTS = {
    "cnn4": ["model@student=cnn4", "student.mean=[0.25]", "student.std=[0.5]", "student.size=12"],
    "resnet8": ["model@student=resnet8"],
    "mlp": ["model@student=mlp", "student.hidden=[8]"],
    "torchvision": ["model@student=torchvision", "student.name=mobilenet_v3_small", "student.size=32"],
    "timm": ["model@student=timm", "student.name=mobilenetv3_small_050", "student.size=32"],
    "custom": ["model@student=custom", "student.target=distill.models.cnn.cnn", "+student.arguments={width: 3}"],
}


def prepared(directory: Path, *overrides: str) -> pipeline.Run:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["trainer=cpu", *overrides])
    save_config(config, directory)
    return pipeline.load(parse(config), directory)


def kept(run: pipeline.Run, network: Network) -> Network:
    save_weights(network.backbone, run.directory / "student.safetensors")
    keep_networks(run.directory, {"student": network}, run.source, {"student": SCORES}, None)
    return load_run(run.directory).network("student")


@pytest.mark.parametrize("name", STUDENTS)
def test_every_source_of_networks_is_built_again(name: str, tmp_path: Path) -> None:
    if name == "timm":
        pytest.importorskip("timm")
    run = prepared(tmp_path, *STUDENTS[name])
    network = run.network("student").eval()
    images = torch.rand(2, 1, 8, 8)
    again = kept(run, network).eval()
    assert torch.equal(again(images).logits, network(images).logits)
    assert again.name == network.name


def test_what_a_method_deploys_is_built_again(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    network = run.network("student").eval()
    head = ProjectedHead((8, 3, 5), nn.Linear(5, 10, bias=False), relu=True, height=2, width=2)
    deployed = network.around(WithReplacedHead(network.backbone, layer_of_8(network), head)).eval()
    images = torch.rand(2, 1, 8, 8)
    again = kept(run, deployed).eval()
    assert torch.equal(again(images).logits, deployed(images).logits)


def layer_of_8(network: Network) -> str:
    """A layer with maps of 8 channels."""
    layers = network.backbone.named_modules()
    return next(path for path, layer in layers if isinstance(layer, nn.Conv2d) and layer.out_channels == 8)


def test_what_has_no_recipe_is_refused_before_it_trains(tmp_path: Path) -> None:
    network = prepared(tmp_path).network("student")
    check_kept(network)
    with pytest.raises(SettingError, match="cnn4: the method deploys a Sequential, which has no `recipe`"):
        check_kept(network.around(nn.Sequential(network.backbone)))


def test_other_data_that_the_student_cannot_take_is_one_line(tmp_path: Path) -> None:
    run = prepared(tmp_path, *STUDENTS["mlp"])
    kept(run, run.network("student"))
    images, labels = np.zeros((10, 5, 5), np.uint8), np.arange(10)
    np.savez(tmp_path / "small.npz", val_images=images, val_labels=labels, class_names=[*"0123456789"])
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("evaluate", [f"run={tmp_path}", "data=arrays", f"data.path={tmp_path}/small.npz"])
    with pytest.raises(SettingError, match=r"student: mlp cannot take images of \(1, 5, 5\)"):
        evaluate_run(config)


def test_an_export_says_what_is_shown_to_a_colour_network(tmp_path: Path) -> None:
    run = prepared(tmp_path, "student.channels=3", "student.size=12")
    kept(run, run.network("student"))
    way = input_steps(load_run(tmp_path).student)
    assert (way["colour"], way["channels"], way["shown_as"], way["size"]) == ("grey", 1, "RGB", 12)
    assert len(way["mean"]) == len(way["std"]) == 3
    files, inside = (line for line in in_words(way, inside=True) if "array" not in line)
    assert "8 bits, grey; shorter side scaled to 8" in files
    assert inside.startswith(
        "then, inside the file: shown as RGB, scaled to 12 x 12 (bilinear, antialiased), normalised by"
    )


def test_a_teacher_that_is_a_program_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(2, 1, 8, 8)
    program = torch.export.export(cnn(num_classes=10, in_channels=1, width=4).eval(), (images,),
                                  dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))  # fmt: skip
    torch.export.save(program, tmp_path / "teacher.pt2")
    monkeypatch.chdir(tmp_path)
    run = prepared(tmp_path / "run", "model@teacher=exported", "teacher.path=teacher.pt2")
    networks = {"teacher": run.network("teacher"), "student": run.network("student")}
    save_weights(networks["student"].backbone, tmp_path / "run" / "student.safetensors")
    keep_networks(tmp_path / "run", networks, run.source, dict.fromkeys(networks, SCORES), None)
    monkeypatch.chdir("/")
    again = load_run(tmp_path / "run", "distill.models.exported").network("teacher")
    assert torch.equal(again(images).logits, networks["teacher"](images).logits)


def built_from(weights: str, num_classes: int) -> nn.Module:
    network = cnn(num_classes=num_classes, in_channels=1, width=3)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network


def test_a_teacher_whose_builder_reads_a_file_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    torch.save(cnn(num_classes=10, in_channels=1, width=3).state_dict(), home / "mine.pt")
    monkeypatch.chdir(home)
    run = prepared(
        home / "run", "model@teacher=custom", "teacher.target=test_kept_networks.built_from",
        "teacher.arguments={weights: mine.pt}",
    )  # fmt: skip
    teacher = run.network("teacher").eval()
    assert teacher.trained
    networks = {"teacher": teacher, "student": run.network("student")}
    save_weights(networks["student"].backbone, home / "run" / "student.safetensors")
    keep_networks(run.directory, networks, run.source, dict.fromkeys(networks, SCORES), None)
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 1, 8, 8)
    again = load_run(run.directory, "test_kept_networks").network("teacher").eval()
    assert torch.equal(again(images).logits, teacher(images).logits)
