"""Memory that the engine keeps from call to call never shows in what it returns."""

import threading

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses import kl_divergence
from distill.losses.engine import CPU_CHUNK, SCRATCH


def reference(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div(student.double().log_softmax(-1), teacher.double().softmax(-1), reduction="batchmean")


def loss_and_gradient(rows: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(rows, classes, generator=generator) for _ in range(2))
    student.requires_grad_()
    loss = kl_divergence(student, teacher)
    (grad,) = torch.autograd.grad(loss, student)
    expected = reference(student, teacher)
    (expected_grad,) = torch.autograd.grad(expected, student)
    return loss, grad, expected, expected_grad


def test_sizes_that_change_from_call_to_call() -> None:
    for rows in (5, 1200, 7, 1200, 5):
        loss, grad, expected, expected_grad = loss_and_gradient(rows, 500, rows)
        torch.testing.assert_close(loss, expected, check_dtype=False)
        torch.testing.assert_close(grad, expected_grad, check_dtype=False)


def test_a_row_longer_than_what_is_kept() -> None:
    loss, grad, expected, expected_grad = loss_and_gradient(2, CPU_CHUNK + 3, 0)
    torch.testing.assert_close(loss, expected, check_dtype=False)
    torch.testing.assert_close(grad, expected_grad, check_dtype=False, rtol=1e-4, atol=1e-9)


def test_results_of_one_call_outlive_the_next() -> None:
    first = loss_and_gradient(64, 100, 1)
    kept = [x.clone() for x in first]
    loss_and_gradient(64, 100, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_threads_have_their_own() -> None:
    found: dict[int, tuple[Tensor, ...]] = {}

    def work(seed: int) -> None:
        for _ in range(30):
            found[seed] = loss_and_gradient(300, 1000, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for loss, grad, expected, expected_grad in found.values():
        torch.testing.assert_close(loss, expected, check_dtype=False)
        torch.testing.assert_close(grad, expected_grad, check_dtype=False)


def test_made_in_inference_mode_and_used_outside_of_it() -> None:
    SCRATCH._kept.clear()
    student, teacher = torch.randn(8, 10), torch.randn(8, 10)
    with torch.inference_mode():
        inside = kl_divergence(student, teacher)
    student.requires_grad_()
    outside = kl_divergence(student, teacher)
    outside.backward()
    torch.testing.assert_close(inside, outside.detach())
    assert student.grad is not None
