"""The kernels in Triton's interpreter on the CPU, in a process of their own; and life without Triton."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import distill.losses as losses
from distill.losses import autograd

ROOT = Path(__file__).parents[2]


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_kernels_agree_with_the_chunked_way():
    pytest.importorskip("triton")
    done = run(str(Path(__file__).with_name("interpreted_kernels.py")), TRITON_INTERPRET="1")
    assert "all kernels agree" in done.stdout, done.stderr[-3000:]


def test_without_triton_nothing_is_said_and_all_works():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, distill.losses as losses\n"
        "from distill.losses import autograd\n"
        "assert autograd.kernels() is None\n"
        "print(losses.kl_divergence(torch.zeros(2, 3), torch.ones(2, 3)).item())"
    )
    done = run("-W", "error", "-c", code)
    assert done.stdout.strip() == "0.0", done.stderr[-3000:]
    assert done.stderr == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_kernels_are_chosen_and_agree(dtype, monkeypatch):
    s, t = torch.randn(2, 64, 5000, device="cuda").to(dtype)
    for loss in (losses.kl_divergence, losses.reverse_kl_divergence, losses.js_divergence):
        found = []
        for module in (autograd.kernels(), None):
            monkeypatch.setattr(autograd, "kernels", lambda m=module: m)
            a = s.detach().requires_grad_()
            value = loss(a, t, temperature=2.0)
            value.backward()
            found.append((value, a.grad))
        torch.testing.assert_close(*(f[0] for f in found), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(*(f[1] for f in found), rtol=2e-2, atol=1e-6)
