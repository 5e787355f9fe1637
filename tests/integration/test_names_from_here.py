"""What people name in settings may lie in the folder that they start the command in."""

from pathlib import Path

from commands import ROOT, ForkServer

MINE = """
import numpy as np
import pytorch_lightning as pl
import torch
from distill.methods import KD
from distill.models.cnn import cnn
from distill.schedules import Constant


class Data(list):
    pass


def load():
    rng = np.random.default_rng(0)
    return [Data((rng.integers(0, 99, (3, 8, 8)).astype(np.uint8), i % 2) for i in range(n)) for n in (20, 10)]


def net(num_classes=2, in_channels=3):
    return cnn(num_classes=num_classes, in_channels=in_channels, width=4)


class Method(KD):
    pass


class Optimizer(torch.optim.SGD):
    pass


class Schedule(Constant):
    pass


class Callback(pl.Callback):
    pass


class Logger(pl.loggers.CSVLogger):
    pass
"""


def test_names_from_the_current_directory_in_all_processes(forks: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    settings = [
        "model@teacher=custom", "teacher.target=mine.net", "model@student=custom", "student.target=mine.net",
        "data=custom", "data.target=mine.load", "data.in_memory=false", "data.workers=1", "method=[]",
        "+method.mine._target_=mine.Method", "optimizer=sgd", "optimizer._target_=mine.Optimizer",
        "scheduler=constant", "scheduler._target_=mine.Schedule", "+callbacks.mine._target_=mine.Callback",
        "logger=none", "+logger._target_=mine.Logger", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.max_epochs=1", "teacher.max_epochs=0", "baseline=false", "preflight=false",
        "trainer.precision=32-true", "data.batch_size=5", "hydra.run.dir=run",
    ]  # fmt: skip
    # The script's own folder is on sys.path, as that of an installed command is; the current directory is not.
    done = forks.run(str(ROOT / "train.py"), *settings, cwd=tmp_path, spawns=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run/summary.json").is_file()
