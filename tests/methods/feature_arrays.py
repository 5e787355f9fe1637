"""Layers written out in numpy, and a way to run a method in float64 beside them."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.methods import Example, Method, Taps
from distill.types import Batch, Outputs

Array = NDArray[np.float64]
N, CLASSES = 3, 5


def outputs(*features: Tensor, logits: Tensor | None = None) -> Outputs:
    logits = torch.zeros(len(features[0]), CLASSES, dtype=torch.float64) if logits is None else logits
    return Outputs(logits, {str(i): feature for i, feature in enumerate(features)})


def run(method: Method, student: Outputs, teacher: Outputs, classifier: nn.Module | None = None) -> dict[str, Tensor]:
    """The method's unweighted terms, in float64, BatchNorm in evaluation mode so that each sample stands for itself."""
    torch.manual_seed(0)
    method.taps = Taps(tuple(student.features), tuple(teacher.features))
    method.setup(Example(student, teacher, torch.zeros(N, dtype=torch.long), classifier))
    method.double().eval()
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return method.compute_losses(student, teacher, Batch(torch.zeros(N, 1, 1, 1), torch.zeros(N, dtype=torch.long)))


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def array(tensor: Tensor) -> Array:
    result: Array = tensor.detach().numpy()
    return result


def convolve(convolution: nn.Module, x: Array) -> Array:
    """A 1x1 convolution of one sample (C, H, W)."""
    assert isinstance(convolution, nn.Conv2d)
    y = np.einsum("oi,ihw->ohw", array(convolution.weight)[:, :, 0, 0], x)
    return y if convolution.bias is None else y + array(convolution.bias)[:, None, None]


def normalise(norm: nn.Module, x: Array) -> Array:
    assert isinstance(norm, nn.BatchNorm2d)
    mean, var, scale, shift = (
        array(t)[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + norm.eps) * scale + shift


def close(got: Tensor, expected: float) -> None:
    torch.testing.assert_close(got.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def block_means(x: Array, side: int) -> Array:
    step = x.shape[1] // side
    result: Array = x.reshape(len(x), side, step, side, step).mean((2, 4))
    return result


def bottleneck(layers: nn.Module, x: Array) -> Array:
    x = np.maximum(normalise(layers[1], convolve(layers[0], x)), 0)
    x = array(F.conv2d(torch.from_numpy(x)[None], layers[3].weight, padding=1)[0])
    return convolve(layers[6], np.maximum(normalise(layers[4], x), 0))
