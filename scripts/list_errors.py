"""Tries wrong inputs and lists what is said of each: `python scripts/list_errors.py > docs/errors.md`.

Each is tried in this process, as far as the checks before any training go. tests/test_errors_page.py tries them too.
"""

import io
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from distill.cli import one_line_errors
from distill.config import build
from distill.config.overrides import readable, with_home
from distill.config.run_config import check_names, parse
from distill.data.language.tokenizer import byte_tokenizer
from distill.experiment import pipeline, preflight
from distill.experiment.cache_commands import main as cache_commands
from distill.experiment.directory import save_config
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.predict import predict_files
from distill.experiment.resume import resumed
from distill.files import CONFIGS
from distill.models.cnn import cnn
from distill.models.weights_file import save_weights
from distill.report.compare import main as compare_runs


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a wrong input: exit status (None: nothing was found wrong), the lines told, seconds."""

    status: int | str | None
    lines: list[str]
    seconds: float


TRAIN = """
sead=1 | +sead=1 | seed=-1 | seed=one | seed=1.5 | baseline=maybe | generations=0 | keep=newest | averaging=mean
ema_decay=1 | swa_start=2 | on_nonfinite=ignore | label_smoothing=1 | label_smoothing=lots | class_weights=fair
class_weights=[1,2] | early_stopping.patience=0 | early_stopping=3 | checkpoint.every_steps=0
checkpoint.every_minutes=-1 | checkpoint=often | chain=[resnet999] | preflight=perhaps | show=everything | profile=2
trust=my-package | resume=nowhere | data=nothing | data.batch_size=0 | data.batch_size=many
data.student_fraction=0 | data.student_fraction=2 | data.workers=-1 | data.timeout=0 | data.mean=[0.5]
data.std=[0] data.mean=[0] | data.sampling=fair | data.student_without=[eleven] | data=null
data.augment.flip=sideways | data.augment.mixup=-1 | data.augment.crop_padding=-1 | data.augment.rotate=5
data=arrays | data=arrays data.path=gone.npz | data=arrays data.path=broken.npz | data=arrays data.path=other.npz
data=arrays data.path=short.npz | data=arrays data.path=pickled.npz | data=arrays data.path=float.npz
data=image_folder | data=image_folder data.root=gone | data=image_folder data.root=empty
data=image_folder data.root=text | data=custom data.target=no.such.module.load | data=custom data.target=os.getcwd
data=huggingface
data=arrays data.path=labels.npz method=[dkd]
data=arrays data.path=labels.npz class_weights=balanced label_smoothing=2 | model@student=cnn5 | student=cnn4
student.width=-1 | student.widht=4 | student.channels=2 | student.size=0 | student.freeze=[nothing]
student.mean=[0.5] | student.max_epochs=-1 | teacher.max_epochs=-1 | teacher.train=sometimes | student.train=true
teacher.head=old | teacher.classes=[a,b] teacher.checkpoint=cnn24.safetensors | student._target_=torch.load
student._target_=no.such.Net | model@student=custom | model@student=custom student.target=nowhere.Net
model@student=custom student.target=os.getcwd | model@student=exported student.path=gone.pt2
teacher.checkpoint=gone.pt | teacher.checkpoint=broken.pt | teacher.checkpoint=code.pt | teacher.checkpoint=empty.pt
teacher.checkpoint=cnn8.safetensors | teacher.checkpoint=empty | teacher.checkpoint=https://example.org/a.pt
method=kdd | method=[] | method.kd.temperature=0 | method.kd.temperature=hot | method.kd.temprature=2
method.kd.weight=-1 | method.kd.reduction=average | method.kd.schedules={weight:{_target_:distill.schedules.Ramp}}
method=null | method.kd=3 | teaching=taped | teaching.epochs=0 | teaching=cached teaching.top_k=0
teaching=ema teaching.decay=2 | optimizer=adamm | optimizer.lr=-1 | optimizer.lr=fast | optimizer.momentum=0.9
optimizer.layer_decay=2 | scheduler=linear | scheduler.warmup=2 | scheduler.final=-1 | trainer=tpu
trainer.precision=8 | trainer.accelerator=quantum | trainer.devices=0 | trainer.max_epochs=0
trainer.max_epochs=ten | trainer.gradient_clip_val=-1 | trainer.accumulate_grad_batches=0 | trainer.num_nodes=0
trainer.compile=fast | trainer.strategy=ddq | trainer.check_val_every_n_epoch=0 | trainer.epochs=3
trainer.log_every_n_steps=often | callbacks.checkpoint.filname=last | logger=paper | experiment=unknown
model@student
"""
"""Of train.py: overrides, several wrong ones at a time separated by `|` or by lines."""
TEXTS = """
data=text_files | data=text_files data.path=gone | data=text_files data.path=empty
data=text_files data.path=table.csv data.tokenizer=gone | data=text_files data.path=rows.jsonl data.text_column=body
data=text_files data.path=broken.jsonl data.val=broken.jsonl | data=text_files data.path=table.csv data.val_fraction=1
data=chat | data=chat data.path=gone | data=chat data.train=gone.jsonl | data=chat data.train=rows.jsonl
data=chat data.train=broken.jsonl | data=chat data.train=rows.jsonl data.loss_on=answers
data=standard_library data.block_size=0 | data=standard_library data.characters=-1
data=text_files data.path=books model@teacher=llama_1x48 model@student=cnn4 | model@student=causal_lm
data=text_files data.path=books data.augment.flip=true | data=text_files data.path=books data.student_without=[3]
data=text_table | data=text_table data.train=table.csv data.tokenizer=empty
data=text_table data.train=gone.csv data.tokenizer=bytes | data=text_table data.train=a.png data.tokenizer=bytes
data=text_table data.train=table.csv data.tokenizer=bytes data.text=body
data=text_table data.train=table.csv data.tokenizer=bytes data.label=grade
data=text_table data.train=table.csv data.tokenizer=bytes data.labels=number
data=text_table data.train=table.csv data.tokenizer=bytes data.classes=[good,better]
data=text_table data.train=ragged.csv data.tokenizer=bytes
data=text_table data.train=table.csv data.tokenizer=bytes data.max_length=0
"""
"""Of train.py, about language models and texts with classes."""
MAPS = """
data=digit_scenes data.target=outlines | data=digit_scenes data.train=0
data=digit_scenes data.train=8 data.val=4 method=[crd]
data=digit_scenes data.train=8 data.val=4 data.augment.mixup=0.2
data=digit_scenes data.train=8 data.val=4 class_weights=[1,2]
data=digit_scenes data.train=8 data.val=4 data.target=boxes class_weights=balanced
data=digit_scenes data.train=8 data.val=4 data.target=boxes method=[dkd]
data=digit_scenes data.train=8 data.val=4 data.target=boxes data.augment.cutmix=1
data=digit_scenes data.train=8 data.val=4 data.target=boxes model@student=vgg8
data=detection_folder | data=detection_folder data.root=gone | data=detection_folder data.root=empty
data=detection_folder data.root=boxes data.format=pascal | data=detection_folder data.root=boxes
data=detection_folder data.root=empty data.format=coco | data=detection_folder data.root=empty data.format=yolo
data=detection_folder data.root=boxes data.on_error=ignore
"""
"""Of train.py, about segmentation and object detection."""
OTHERS = {
    "evaluate.py": "run=gone | run=unfinished | run=??? | run=unfinished split=half | run=unfinished precision=8",
    "predict.py": "run=gone input=a.png | run=unfinished input=a.png | input=a.png | run=gone input=a.png batch_size=0",
    "export.py": "run=gone | run=unfinished format=tar | run=unfinished",
    "compare.py": "gone | empty",
    "cache_teacher.py": "list gone | verify --dir=gone | prune --dir=gone",
}
"""Of the other commands."""


def cases() -> Iterator[tuple[str, list[str]]]:
    """Command and arguments of every wrong input."""
    for command, listed in (("train.py", TRAIN), ("train.py", TEXTS), ("train.py", MAPS), *OTHERS.items()):
        for line in listed.strip().splitlines():
            for case in line.split("|"):
                yield command, case.split()


def make_files(directory: Path) -> None:
    """The files that the inputs name, most of them wrong in some way."""
    images, labels = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2
    parts = {"train_images": images, "train_labels": labels, "val_images": images, "val_labels": labels}
    (directory / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(directory / "other.npz", pictures=images)
    np.savez(directory / "short.npz", **{**parts, "train_labels": labels[:5]})
    np.savez(directory / "pickled.npz", **{**parts, "class_names": np.array(["a", {}], dtype=object)})
    several = np.array([[1, 1], [0, 0]], np.uint8).repeat(4, 0)
    np.savez(directory / "labels.npz", **{**parts, "train_labels": several, "val_labels": several})
    np.savez(directory / "float.npz", **{**parts, "train_images": images + 300.5})
    (directory / "table.csv").write_text("text,label\na good film,good\na bad film,bad\n" * 2)
    (directory / "ragged.csv").write_text("text,label\na good film,good,very\n")
    (directory / "rows.jsonl").write_text('{"text": "a film"}\n' * 4)
    (directory / "broken.jsonl").write_text('{"text": \n')
    byte_tokenizer().save_pretrained(directory / "bytes")
    for name in ("empty", "text/train/a", "unfinished", "boxes/Annotations", "boxes/JPEGImages", "books"):
        (directory / name).mkdir(parents=True)
    (directory / "text/train/a/1.txt").write_text("no image")
    for number in range(4):
        (directory / f"books/{number}.txt").write_text(f"Chapter {number}. " * 40)
    (directory / "boxes/Annotations/1.xml").write_text("<annotation><object>")
    (directory / "broken.pt").write_bytes(b"PK\x03\x04 and no more")
    torch.save({}, directory / "empty.pt")
    torch.save(torch.nn.Linear(1, 1), directory / "code.pt")
    for width in (24, 8):
        save_weights(cnn(num_classes=10, in_channels=1, width=width), directory / f"cnn{width}.safetensors")
    save_config(composed("train", []), directory / "unfinished")
    Image.new("L", (8, 8)).save(directory / "a.png")


_bases: dict[tuple[str, ...], DictConfig] = {}


def composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes. New values of settings that it has composed before need no second composition."""
    read = readable(overrides)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        parsed = OverridesParser.create().parse_overrides(read)
        choices = [override for override in parsed if (CONFIGS / override.key_or_group).is_dir()]
        key = (command, *(str(override.input_line) for override in choices))
        if key not in _bases:
            _bases[key] = compose(command, list(key[1:]))
        base = _bases[key].copy()
        values = [override for override in parsed if override not in choices]
        if not all(_is_a_value(base, override) for override in values):
            return compose(command, read)
        for override in values:
            OmegaConf.update(base, override.key_or_group, override.value())
        return base


def _is_a_value(base: DictConfig, override: Override) -> bool:
    """Whether an override replaces one value by another, as OmegaConf.update does."""
    place, _, name = override.key_or_group.rpartition(".")
    parent = OmegaConf.select(base, place) if place else base
    there = isinstance(parent, DictConfig) and name in set(parent)  # `in parent` denies those left to the user
    single = there and (OmegaConf.is_missing(parent, name) or not isinstance(parent[name], DictConfig))
    return single and override.package is None and override.type is OverrideType.CHANGE


def run(command: str, arguments: list[str], directory: Path) -> Said:
    """Try one in the directory of the files."""
    said, before = io.StringIO(), (sys.argv, Path.cwd())
    status: int | str | None = None
    started = time.perf_counter()
    sys.argv = [command, *arguments]
    os.chdir(directory)
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()), _quiet():
            one_line_errors(lambda: COMMANDS[command](arguments))
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
    return Said(status, said.getvalue().strip().splitlines(), time.perf_counter() - started)


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _train(overrides: list[str]) -> None:
    config = with_home(composed("train", overrides))
    if config.get("resume") is not None:
        resumed(config, Path(config.resume), overrides)
    check_names(config)
    checked = parse(config)
    run = pipeline.prepare(checked, Path("run"))
    networks = preflight.check_networks(run)
    run.teacher(preflight.spare(networks["teacher"])).check(build.method(checked.method))


COMMANDS: dict[str, Callable[[list[str]], object]] = {
    "train.py": _train,
    "evaluate.py": lambda arguments: evaluate_run(with_home(composed("evaluate", arguments))),
    "predict.py": lambda arguments: predict_files(with_home(composed("predict", arguments))),
    "export.py": lambda arguments: export_run(with_home(composed("export", arguments))),
    "compare.py": compare_runs,
    "cache_teacher.py": cache_commands,
}


def page() -> str:
    """All of them as a table in Markdown."""
    lines = [
        "# What is said of wrong inputs", "",
        "Written by `python scripts/list_errors.py`; a test tries each of them. The command ends with this line and",
        "exit status 2. Seconds are those of the check itself, after the command's imports: 2 s for settings and for",
        "whether a run is there, which need neither data nor networks; 5 s for the rest.", "",
        "| command | input | status | what is said | s |", "|---|---|---:|---|---:|",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        make_files(Path(place))
        for command, arguments in cases():
            said = run(command, arguments, Path(place))
            told = "; ".join(said.lines).removeprefix("error: ").replace(place, "DIR").replace("|", "\\|")
            lines.append(f"| {command} | `{' '.join(arguments)}` | {said.status} | {told} | {said.seconds:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
