"""What messages advise works: each mistake here is made as a user makes it, and what its line says is then done."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import nn

from distill.cli import CONFIGS
from distill.config.overrides import readable
from distill.errors import SettingError, explain
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.pipeline import run
from distill.experiment.predict import predict_files
from distill.models.cnn import cnn
from distill.models.weights_file import save_weights

TINY = (
    "trainer=cpu", "logger=none", "trainer.max_epochs=1", "teacher.max_epochs=1", "data.batch_size=8",
    "model@teacher=cnn4", "model@student=cnn4", "trainer.precision=32-true", "baseline=false",
)  # fmt: skip
HERE = "tests.integration.test_advice_works"
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a GPU")


class Frozen(nn.Module):
    """Has no weights to train."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.net = cnn(num_classes=num_classes, in_channels=in_channels, width=4).requires_grad_(False)

    def forward(self, images: torch.Tensor) -> Any:
        """Logits."""
        return self.net(images)


@dataclass(frozen=True)
class Case:
    """A mistake: the settings that make it, and its line, whose group `advice` is what to set, as in a shell.

    filled: what a user puts for words that stand for something, such as EPOCHS; for "", where the line says what is to
        be so in words alone.
    name: the setting, with its "=", that an advised value is for; or what is to be added to an advised name.
    gone: the setting of the mistake that isn't set any more.
    """

    mistake: str
    line: str
    filled: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    gone: str = ""


def name_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def train(directory: Path, *overrides: str) -> None:
    """The command in this process; a mistake ends in a SettingError with its one line."""
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", readable(overrides))
        run(config, directory)
    except Exception as error:
        if isinstance(error, SettingError) or type(error).__module__.startswith(("hydra", "omegaconf")):
            raise SettingError(explain(error, CONFIGS)) from error
        raise


def corrected(overrides: Sequence[str], advice: str) -> list[str]:
    """The command once more, with what is advised in place of what was said of the same settings.

    So `teaching=live` takes the place of all that was said of teaching.
    """
    wanted = advice.split()
    names = [name_of(each) for each in wanted]
    return [each for each in overrides if not any(f"{name_of(each)}.".startswith(f"{n}.") for n in names)] + wanted


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of other classes and channels, and folders of pictures that are not as they should be."""
    root = tmp_path_factory.mktemp("files")
    for name, classes, channels in (("ten", 10, 1), ("rgb", 4, 3), ("good", 4, 1)):
        save_weights(
            cnn(num_classes=classes, in_channels=channels, width=4, norm="none"), root / f"{name}.safetensors", {}
        )
    for folder in ("flat", "damaged/train", "damaged/val", "empty/train", "empty/val", "deep/a", "deep/b"):
        for label in ("cat", "dog"):
            place = root / folder / label
            place.mkdir(parents=True)
            for number in range(12):
                Image.new("L", (8, 8), 40 * (label == "dog") + 5 * number).save(place / f"{number}.png")
    (root / "damaged/train/cat/3.png").write_bytes(b"no picture")
    (root / "empty/train/fish").mkdir()
    (root / "empty/val/fish").mkdir()
    return root


CASES = [
    # names and values
    Case("trainer.max_epoch=1", "did you mean (?P<advice>trainer.max_epochs)\\?", name="=1", gone="trainer.max_epoch"),
    Case("model@student=cnn5", "did you mean (?P<advice>cnn4)\\?", name="model@student="),
    Case("student=cnn4", "has settings of its own; give (?P<advice>model@student=cnn4)", gone="student"),
    Case("data.augment=true", "give (?P<advice>data.augment.flip=true)", gone="data.augment"),
    Case("early_stopping=5", "give (?P<advice>early_stopping.patience=EPOCHS)", {"EPOCHS": "5"}, gone="early_stopping"),
    Case("keep=first", "must be one of last, (?P<advice>best)", name="keep="),
    Case("averaging=mean", "must be one of (?P<advice>ema), swa or null", name="averaging="),
    Case("class_weights=[1,2]", "must be (?P<advice>balanced), or a list of 4", name="class_weights="),
    Case("trainer.precision=fp16", "must be one of auto, bf16-mixed, 16-mixed, (?P<advice>32-true)",
         name="trainer.precision="),
    Case("trainer.gradient_clip_val=-1", "must be above 0, or (?P<advice>null)", name="trainer.gradient_clip_val="),
    Case("scheduler.warmup=2", "must be a share between 0 and 1", {"": "scheduler.warmup=0.5"}),
    Case("data.mean=[0.5]", "give both or neither", {"": "data.mean=[0.5] data.std=[0.2]"}),
    Case("teacher.max_epochs=0 teacher.train=true", "must be 1 or more with train=true", {"": "teacher.max_epochs=1"}),
    pytest.param(Case("trainer.accelerator=gpu", "(?P<advice>trainer.accelerator=auto) takes"), marks=NO_GPU),
    pytest.param(Case("trainer.accelerator=tpu", "(?P<advice>trainer.accelerator=auto) takes"), marks=NO_GPU),
    # networks
    Case("teacher.checkpoint=FILES/ten.safetensors", "; (?P<advice>teacher.head=new) gives it a new last layer"),
    Case("teacher.checkpoint=FILES/ten.safetensors", "such as (?P<advice>method=fitnet) or"),
    Case("teacher.checkpoint=FILES/ten.safetensors", "or (?P<advice>method=at), take it as it is"),
    Case("teacher.checkpoint=FILES/ten.safetensors", "(?P<advice>teacher.classes=FILE) or \\[...\\]",
         {"FILE": "[4,5,6,7]"}),
    Case("student.checkpoint=FILES/ten.safetensors", "(?P<advice>student.head=new) gives it a new last layer"),
    Case("teacher.checkpoint=FILES/rgb.safetensors", "(?P<advice>teacher.channels=3) shows it images as it knows them"),
    Case("model@teacher=custom teacher.target=HERE.Frozen", "(?P<advice>teacher.max_epochs=0) uses it as it is"),
    Case("teacher.train=true teacher.freeze=[layerr1]", "did you mean (?P<advice>layer1)\\?", {"layer1": "[layer1]"},
         name="teacher.freeze="),
    Case("method=at method.at.student_layers=[layr2] method.at.teacher_layers=[layer2]",
         "did you mean (?P<advice>layer2)\\?", {"layer2": "[layer2]"}, name="method.at.student_layers="),
    # kept answers
    Case("teaching=cached teaching.features=false method=at", "keep them with (?P<advice>teaching.features=true)"),
    Case("teaching=cached teaching.features=false method=at", "or use (?P<advice>teaching=live)"),
    Case("teaching=cached teaching.features=pooled method=at", "keep them so with (?P<advice>teaching.features=true)"),
    Case("teaching=cached teaching.top_k=2 method=dkd", "needs all logits; .*(?P<advice>teaching.top_k=null)"),
    Case("teaching=cached teaching.top_k=2 teaching.temperatures=[1] method.kd.temperature=3", "add it",
         {"": "teaching.temperatures=[1,3]"}),
    Case("teaching=cached teaching.max_gb=1e-6", "allow more", {"": "teaching.max_gb=1"}),
    Case("teaching=ensemble teaching.checkpoints=[]", "name the weights of one further teacher or more",
         {"": "teaching.checkpoints=[FILES/good.safetensors]"}),
    # what watches
    Case("+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping +callbacks.stop.monitor=val_acc",
         "must be one of .*(?P<advice>val/accuracy)", name="+callbacks.stop.monitor="),
    # pictures
    Case("data=image_folder data.root=FILES/flat", "set data.val_fraction, e.g. to (?P<advice>0.1),",
         name="data.val_fraction="),
    Case("data=image_folder data.root=FILES/damaged", "leave such images out with (?P<advice>data.on_error=skip)"),
    Case("data=image_folder data.root=FILES/empty", "go on without with (?P<advice>data.on_error=skip)"),
    Case("data=image_folder data.root=FILES/deep data.val_fraction=0.2", "or choose one, (?P<advice>data.root=[^;]*);"),
    Case("data=image_folder data.root=FILES/none", "give one that holds train/CLASS/",
         {"": "data.root=FILES/damaged data.on_error=skip"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mistake[:60])
def test_a_setting_that_is_advised_is_taken(
    case: Case, images: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(text: str) -> str:
        return text.replace("FILES", str(files)).replace("HERE", HERE)

    monkeypatch.chdir(tmp_path)  # where kept answers go
    data = () if "data=image_folder" in case.mistake else ("data=arrays", f"data.path={images}")
    told = {name_of(each): each for each in (*TINY, *data, "preflight=only", *put(case.mistake).split())}
    overrides = tuple(told.values())
    with pytest.raises(SettingError, match=case.line) as caught:
        train(tmp_path / "wrong", *overrides)
    said = re.search(case.line, str(caught.value))
    assert said is not None
    assert not (tmp_path / "wrong/checkpoints").exists()
    advice = said.groupdict().get("advice", "")
    for word, value in case.filled.items():
        advice = put(value) if word == "" else advice.replace(word, value)
    advice = advice + case.name if case.name.startswith("=") else case.name + advice
    kept = [each for each in overrides if name_of(each) != case.gone]
    train(tmp_path / "right", *corrected(kept, advice))


# ------------------------------------------------------------------------------------- runs and what is done with them


@pytest.fixture(scope="module")
def done(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and its data beside it."""
    place = tmp_path_factory.mktemp("done")
    shutil.copy(images, place / "grey.npz")
    train(place / "run", *TINY, "data=arrays", f"data.path={place}/grey.npz", "preflight=false")
    return place


@pytest.fixture
def finished_run(done: Path, tmp_path: Path) -> Path:
    """A copy of it, to do harm to."""
    return shutil.copytree(done / "run", tmp_path / "run")


def of(name: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, readable(overrides))


def advised(caught: pytest.ExceptionInfo[SettingError], pattern: str) -> str:
    found = re.search(pattern, str(caught.value))
    assert found is not None, str(caught.value)
    return found[1]


def test_a_directory_that_is_taken_is_gone_on_with(done: Path, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="a run with seed=0 lies there") as caught:
        train(finished_run, *TINY, "data=arrays", f"data.path={done}/grey.npz", "preflight=false", "seed=1")
    train(tmp_path / "unused", advised(caught, r"python train.py (resume=\S+)$"), "preflight=false")
    assert not (tmp_path / "unused").exists()


def test_a_run_that_was_cut_off_is_gone_on_with(finished_run: Path, tmp_path: Path) -> None:
    before = (finished_run / "student.safetensors").read_bytes()
    for name in ("summary.json", "student.json", "student.safetensors", "checkpoints/student/record.json"):
        (finished_run / name).unlink()
    with pytest.raises(SettingError, match="not finished") as caught:
        evaluate_run(of("evaluate", f"run={finished_run}"))
    train(tmp_path, advised(caught, r"python train.py (resume=[^`]+)"), "preflight=false")
    assert (finished_run / "student.safetensors").read_bytes() == before
    evaluate_run(of("evaluate", f"run={finished_run}"))


def test_a_damaged_record_is_written_again(finished_run: Path, tmp_path: Path) -> None:
    (finished_run / "student.json").write_text("{")
    with pytest.raises(SettingError, match="is damaged") as caught:
        export_run(of("export", f"run={finished_run}", "format=safetensors", f"output={tmp_path}/s.safetensors"))
    train(tmp_path, advised(caught, r"write it again with (resume=\S+)"), "preflight=false")
    export_run(of("export", f"run={finished_run}", "format=safetensors", f"output={tmp_path}/s.safetensors"))
    assert (tmp_path / "s.safetensors").is_file()


def test_data_that_went_elsewhere_is_named(done: Path, finished_run: Path, files: Path, tmp_path: Path) -> None:
    config = finished_run / "config.yaml"
    config.write_text(config.read_text().replace(f"{done}/grey.npz", f"{tmp_path}/gone.npz"))
    with pytest.raises(SettingError, match="cannot be read here") as caught:
        evaluate_run(of("evaluate", f"run={finished_run}"))
    advice = advised(caught, r"such as (data=image_folder data.root=DIR)").replace("DIR", f"{files}/two")
    for label in ("0", "1"):
        shutil.copytree(files / "flat/cat", files / "two" / label)
    with pytest.raises(SettingError, match="images of 3 channels") as caught:  # pictures are taken for RGB
        evaluate_run(of("evaluate", f"run={finished_run}", *advice.split()))
    evaluate_run(of("evaluate", f"run={finished_run}", *advice.split(), advised(caught, r"must be (data.channels=1)$")))


def test_an_array_is_written_alone(finished_run: Path, tmp_path: Path) -> None:
    pixels = np.zeros((3, 8, 8), np.uint8)
    np.savez(tmp_path / "two.npz", one=pixels, other=pixels)
    with pytest.raises(SettingError, match=r"write it alone with numpy\.save$"):
        predict_files(of("predict", f"run={finished_run}", f"input={tmp_path}/two.npz"))
    np.save(tmp_path / "one.npy", pixels)
    predict_files(of("predict", f"run={finished_run}", f"input={tmp_path}/one.npy", f"output={tmp_path}/said.csv"))
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 4


def test_channels_last_is_what_is_advised_for_arrays(images: Path, tmp_path: Path) -> None:
    with np.load(images) as given:
        arrays = {name: given[name] for name in given.files}
    wrong = {name: np.repeat(value[:, None], 3, 1) if "images" in name else value for name, value in arrays.items()}
    np.savez(tmp_path / "first.npz", **wrong)
    look = (*TINY, "data=arrays", "preflight=only", f"data.path={tmp_path}/first.npz")
    with pytest.raises(SettingError, match=r"use numpy\.transpose\(images, \(0, 2, 3, 1\)\)"):
        train(tmp_path / "wrong", *look)
    right = {name: np.transpose(value, (0, 2, 3, 1)) if "images" in name else value for name, value in wrong.items()}
    np.savez(tmp_path / "first.npz", **right)
    train(tmp_path / "right", *look)
