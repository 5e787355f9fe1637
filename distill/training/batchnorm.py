"""BatchNorm over the samples of all processes, on the CPU too, and its running statistics where each has its own."""

from collections.abc import Iterable, Iterator

import torch
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill.errors import SettingError
from distill.losses.logits import precise
from distill.processes import process_and_count, sum_over_processes

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class CPUSyncBatchNorm(_BatchNorm):
    """What torch's SyncBatchNorm, which is for GPUs alone, computes, by plain operations."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any with channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) normalised by channel over the samples of all processes in training."""
        if not self.training or process_and_count()[1] == 1:
            return super().forward(x)
        given, x = x.dtype, precise(x)
        others = [dim for dim in range(x.dim()) if dim != 1]
        shape = (1, -1, *[1] * (x.dim() - 2))
        total = sum_over_processes(torch.cat([x.sum(others), x.new_tensor([x.numel() / x.shape[1]])]))
        mean, count = total[:-1] / total[-1], total[-1].detach()
        centred = x - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(others)) / count
        self._remember(mean, variance * count / (count - 1).clamp_min(1))
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(given)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


SYNCHRONISED = (nn.SyncBatchNorm, CPUSyncBatchNorm)


class SyncNorms(LayerSync):
    """What `trainer.sync_batchnorm` asks for: layers stay the same objects, so that taps and freezing hold.

    Args:
        device: that the processes train on.
    """

    def __init__(self, device: torch.device) -> None:
        self._kind: type[_BatchNorm] = CPUSyncBatchNorm if device.type == "cpu" else nn.SyncBatchNorm
        self._changed: list[tuple[nn.Module, type[nn.Module]]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Every BatchNorm of the module, its method's too.

        Raises:
            SettingError: a layer is of a kind that cannot be synchronised.
        """
        for name, norm in model.named_modules():
            if isinstance(norm, _BatchNorm) and not isinstance(norm, SYNCHRONISED):
                if type(norm) not in PLAIN:
                    raise SettingError(
                        f"trainer.sync_batchnorm=true: {name} is a {type(norm).__name__}, which is more than a "
                        "BatchNorm; train without, or give the network plain nn.BatchNorm layers"
                    )
                self._changed.append((norm, type(norm)))
                norm.__class__ = self._kind
                norm.process_group = None  # type: ignore[assignment]  # all processes
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """As they were."""
        while self._changed:
            norm, kind = self._changed.pop()
            norm.__class__ = kind
            del norm.process_group
        return model


def own_statistics(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """The running means and variances that each process measures on its own samples."""
    for norm in modules:
        if isinstance(norm, _BatchNorm) and not isinstance(norm, SYNCHRONISED) and norm.running_mean is not None:
            assert norm.running_var is not None
            yield from (norm.running_mean, norm.running_var)


@torch.no_grad()
def average_statistics(modules: Iterable[nn.Module]) -> None:
    """Give the own statistics of all processes the mean over them, to be called in all at once."""
    statistics, (_, count) = list(own_statistics(modules)), process_and_count()
    if count == 1 or not statistics:
        return
    mean = sum_over_processes(torch.cat([statistic.flatten().double() for statistic in statistics])) / count
    for statistic, values in zip(statistics, mean.split([x.numel() for x in statistics]), strict=True):
        statistic.copy_(values.view_as(statistic))
