"""The same job by torchdistill: its box of networks, loader, loss and optimizer, driven as its examples drive it."""

import importlib
import importlib.util
import itertools
from typing import Any

from torch.utils.data import RandomSampler
from torchvision import transforms

from benchmarking.data import PilImages
from benchmarking.job import LABEL_WEIGHT, LR, MOMENTUM, TEMPERATURE, WEIGHT, WEIGHT_DECAY, Job, Steps

LOG_EVERY = 100  # steps, as in its configs for CIFAR


def installed() -> bool:
    """Whether it is there to compare with."""
    return importlib.util.find_spec("torchdistill") is not None


def torchdistill(job: Job, workers: int) -> Steps:
    """A DistillationBox trains; its MetricLogger reads and logs the loss of every step, as in its examples."""
    core = importlib.import_module("torchdistill.core.distillation")
    log = importlib.import_module("torchdistill.misc.log")
    images = PilImages(job.images, job.targets, transforms.Normalize(job.mean, job.std))
    box = core.get_distillation_box(
        job.teacher(), job.student(), {"train": images}, _config(job.batch_size, workers), job.device, None, False, 1
    )
    for epoch in itertools.count():
        box.pre_epoch_process(epoch=epoch)
        meters = log.MetricLogger(delimiter="  ")
        for shown, targets, supplement in meters.log_every(box.train_data_loader, LOG_EVERY, f"Epoch: [{epoch}]"):
            shown, targets = shown.to(job.device), targets.to(job.device)
            loss = box.forward_process(shown, targets, supplement)
            box.post_forward_process(loss=loss)
            meters.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
            yield
        box.post_epoch_process()


def _config(batch_size: int, workers: int) -> dict[str, Any]:
    """What its YAML files say under `train`."""
    logits = {
        f"{role}_module_{key}": value
        for role in ("student", "teacher")
        for key, value in (("path", "."), ("io", "output"))
    }
    loss = {"temperature": TEMPERATURE, "alpha": LABEL_WEIGHT, "beta": WEIGHT, "reduction": "batchmean"}
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": batch_size, "num_workers": workers},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": {"lr": LR, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": {**logits, **loss}}, "weight": 1.0}}
            },
        },
    }
