"""Training loops without a framework: as most would write one, and the fastest that is sensible."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarking.data import PilImages
from benchmarking.job import LABEL_WEIGHT, LR, MOMENTUM, TEMPERATURE, WEIGHT, WEIGHT_DECAY, Job, Steps

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def plain(job: Job, workers: int) -> Steps:
    """Batches from a DataLoader, float32, F.kl_div."""
    teacher, student = job.teacher(), job.student()
    optimizer = torch.optim.SGD(student.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(
        PilImages(job.images, job.targets, transforms.Normalize(job.mean, job.std)),
        job.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=job.device.type == "cuda",
    )
    while True:
        for batch in loader:
            images, targets = (values.to(job.device, non_blocking=True) for values in batch)
            with torch.no_grad():
                answers = teacher(images)
            loss = distillation_loss(student(images), answers, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def floor(job: Job, precision: str, *, cached: bool, compiled: bool = False) -> Steps:
    """Nothing but the teacher's answer and the student's step, all that may lie ready lying ready.

    Batches are normalised and in the layout and precision of the step; they are neither cropped nor flipped. The
    teacher's BatchNorms are part of its convolutions, and its weights are of the step's precision.

    Args:
        job: what to train.
        precision: as Lightning names it; one of PRECISIONS.
        cached: the teacher has answered already.
        compiled: the teacher is compiled, its weights frozen.

    Raises:
        ValueError: another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision={precision}: there is no floor for it; choose from {', '.join(PRECISIONS)}"
        )
    dtype, device = PRECISIONS[precision], job.device
    teacher = folded(job.teacher()).to(dtype).to(memory_format=torch.channels_last)
    if compiled:
        teacher.compile(options={"freezing": True})
    student = job.student().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(student.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
    images = job.normalised(job.images).to(device, dtype, memory_format=torch.channels_last)
    batches = list(zip(images.split(job.batch_size), job.targets.to(device).split(job.batch_size), strict=True))
    with torch.no_grad():
        kept = [teacher(shown).float() for shown, _ in batches] if cached else [None] * len(batches)
    while True:
        for (shown, targets), answers in zip(batches, kept, strict=True):
            if answers is None:
                with torch.inference_mode():
                    answers = teacher(shown).float()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = student(shown)
            loss = distillation_loss(logits.float(), answers, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def distillation_loss(logits: Tensor, answers: Tensor, targets: Tensor) -> Tensor:
    """Of (N, C) logits of student and teacher, and (N,) labels: that of `method=kd`."""
    T = TEMPERATURE
    divergence = F.kl_div(F.log_softmax(logits / T, 1), F.softmax(answers / T, 1), reduction="batchmean")
    return LABEL_WEIGHT * F.cross_entropy(logits, targets) + WEIGHT * T**2 * divergence


def folded(network: nn.Module) -> nn.Module:
    """The network in evaluation, with each BatchNorm that follows a convolution made part of it."""
    for parent in network.modules():
        children = list(parent.named_children())
        for (name, conv), (following, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, following, nn.Identity())
    return network
