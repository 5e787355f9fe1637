"""No method has the host wait for the GPU, or mixes devices, on a GPU that is pretended."""

import dataclasses
from pathlib import Path

import pytest
import torch
from method_cases import Learned, case, kind_of
from pretended_gpu import GPU, HostWaitsError, pretended_gpu
from test_every_method import FILES, build

from distill.losses import autograd, engine, formulas
from distill.types import Outputs

DECOMPOSING = ("kdsvd",)  # torch's decompositions wait by themselves


def test_the_pretended_gpu_tells_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch) as send:
        x = send(torch.rand(3))
        assert (x + 1).device == GPU
        assert x.sum().mul(2).shape == ()
        assert torch.rand(3).sum().item() > 0  # the CPU's own affairs
        assert torch.zeros(3).to(GPU, non_blocking=True).device == GPU
        for waiting in (
            lambda: x.sum().item(),
            lambda: x.cpu(),
            lambda: x.to("cpu", non_blocking=True).numpy(),
            lambda: x[x > 0.5],
            lambda: bool((x > 0).all()),
            lambda: x.tolist(),
            lambda: torch.zeros(3).to(GPU),
            lambda: x[torch.tensor([0])],
            lambda: torch.linalg.eigh(x[:, None] * x),
            lambda: torch.tensor(1.0, device=GPU),
            lambda: x.copy_(torch.zeros(3)),
        ):
            with pytest.raises(HostWaitsError):
                waiting()
        with pytest.raises(RuntimeError, match="device"):
            x + torch.zeros(3)


@pytest.mark.parametrize("has_float64", [True, False], ids=["", "without float64"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("networks", ["resnets", "strangers"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_method_waits(
    file: Path, networks: str, dtype: torch.dtype, has_float64: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autograd, "kernels", lambda: None)  # which run on a real GPU only
    method = build(file)
    *answers, batch, example = case(networks, dtype, kind_of(method))
    method.setup(example)
    if not has_float64:  # as on Apple's GPUs
        for module in (engine, formulas):
            monkeypatch.setattr(module, "widest_dtype", lambda x: torch.float32)
    with pretended_gpu(monkeypatch, has_float64=has_float64) as send:
        send(method)
        student, teacher = (
            dataclasses.replace(
                outputs,
                logits=(logits := send(outputs.logits)),
                features=send(outputs.features),
                reading=outputs.reading and Learned(logits),
            )
            for outputs in answers
        )
        assert isinstance(student, Outputs)
        batch = dataclasses.replace(batch.map(send), indices=batch.indices)
        method.set_progress(0.3)
        if file.stem in DECOMPOSING:
            with pytest.raises(HostWaitsError, match="linalg"):
                method(student, teacher, batch)
            return
        terms = method(student, teacher, batch)
        assert {str(term.device) for term in terms.values()} == {"cuda:0"}
