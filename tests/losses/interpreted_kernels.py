"""Run by test_triton_kernels.py in a process of its own: Triton reads TRITON_INTERPRET when it is imported."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from oracle import with_gradients

from distill.losses import triton_kernels
from distill.losses.autograd import WeightedSum
from distill.losses.engine import Job
from distill.losses.formulas import ForwardKL, JensenShannon, ReverseKL


def compare(job, s, t, class_dim, tolerance):
    assert triton_kernels.serves(job, s, t, class_dim)
    found = with_gradients(lambda a: triton_kernels.KernelSum.apply(a, t, job, class_dim) * 3, s)
    expected = with_gradients(lambda a: WeightedSum.apply(a, t, job, class_dim) * 3, s)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == s.dtype
    torch.testing.assert_close(found[0], expected[0], rtol=2e-5, atol=1e-6, equal_nan=False)
    torch.testing.assert_close(found[1], expected[1], rtol=tolerance, atol=1e-6)
    assert found[1].isfinite().all()


def main():
    torch.manual_seed(0)
    dtypes = {torch.float32: 2e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
    for formula in (ForwardKL(), ReverseKL(), JensenShannon(0.3)):
        for dtype, tolerance in dtypes.items():
            for classes in (1, 5, 100, 5000):  # one block, and two
                s, t = (torch.randn(3, classes).mul(4).to(dtype) for _ in range(2))
                compare(Job(formula, 2.0, 0.5), s, t, 1, tolerance)
        s, t = torch.randn(2, 2, 3, 7)
        drop = torch.tensor([[True, False, False], [False, True, False]]).unsqueeze(-1)
        weights = torch.rand(2, 3, 1).masked_fill(drop, 0)
        spoilt = s.masked_fill(drop, float("nan"))
        compare(Job(formula, 1.0, 0.5, weights, drop), spoilt, t, -1, 2e-5)
        s, t = torch.randn(2, 3, 9)
        s[:, 4] = t[:, 4] = -float("inf")
        compare(Job(formula, 1.0), s, t, 1, 2e-5)
        compare(Job(formula, 1.0), torch.randn(3, 20)[:, 5:14], torch.randn(3, 9), 1, 2e-5)
        d = torch.randn(2, 3, dtype=torch.float32, requires_grad=True)
        target = torch.randn(2, 3)
        (g,) = torch.autograd.grad(
            triton_kernels.KernelSum.apply(d, target, Job(formula, 2.0), 1), d, create_graph=True
        )
        (second,) = torch.autograd.grad(g.square().sum(), d)
        (h,) = torch.autograd.grad(WeightedSum.apply(d, target, Job(formula, 2.0), 1), d, create_graph=True)
        torch.testing.assert_close(second, torch.autograd.grad(h.square().sum(), d)[0])
    ruled_out = torch.tensor([[0.0, -float("inf")]])
    assert triton_kernels.KernelSum.apply(ruled_out, torch.zeros(1, 2), Job(ForwardKL(), 1.0), 1) == float("inf")
    print("all kernels agree")


if __name__ == "__main__":
    main()
