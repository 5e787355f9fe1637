"""Ends a training of several processes when one of them waits for its data: the others would wait for it."""

import os
import sys
import threading
import time
from typing import NoReturn

import pytorch_lightning as pl
from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

from distill.errors import SettingError
from distill.training.peers import Peers

LOOKS = 0.5  # seconds between two looks


class DataWatch(pl.Callback):
    """Looks, in a thread, how long this process has been waiting for its next batch.

    Args:
        seconds: after so many, all processes end; None for never.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._ended = threading.Event()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to look, where there are others."""
        if self.seconds is not None and trainer.world_size > 1:
            threading.Thread(target=self._look, args=(trainer, self.seconds), daemon=True).start()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look no more."""
        self._ended.set()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Look no more."""
        self._ended.set()

    def _look(self, trainer: pl.Trainer, seconds: float) -> None:
        while not self._ended.wait(LOOKS):
            for loader in (trainer.train_dataloader, trainer.val_dataloaders):
                since = getattr(loader, "waiting_since", None)
                if since is not None and time.monotonic() - since > seconds:
                    _end(f"data.timeout={seconds:g}: it has waited so many seconds for its next batch; see what holds "
                         "its files up, or give more")  # fmt: skip


def _end(line: str) -> NoReturn:
    """End this process, which hangs and can raise nothing, so that the others learn why."""
    try:
        if Peers.met is not None:
            Peers.met.tell_failure(line)
        else:  # of those that our own launcher has started
            ErrorHandler().record_exception(SettingError(line))
    finally:
        sys.stderr.flush()
        os._exit(2)
