"""Contrastive distillation: its loss written out, its memory, and its memory in two processes."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill.methods import CRD, Example
from distill.methods.contrast import Contrast, OtherClasses
from distill.types import Batch, Outputs

LABELS = torch.tensor([2, 0, 1, 2, 2, 0, 2, 1, 2, 2])


def prepared(**settings: float) -> CRD:
    torch.manual_seed(0)
    method = CRD(dim=3, label_weight=0, **settings)
    method.setup(Example(outputs(5), outputs(7), LABELS))
    return method.double()


def outputs(width: int, samples: int = 4, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed + width)
    features = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    return Outputs(torch.zeros(samples, 3, dtype=torch.float64), {"embedding": features})


def batch_of(*indices: int) -> Batch:
    index = torch.tensor(indices)
    return Batch(torch.zeros(len(index), 1, 1, 1), LABELS[index], index)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def written_out(embeddings: Tensor, bank: Tensor, columns: list[list[int]], temperature: float) -> float:
    """Equations 13 and 17 to 19 of 1910.10699, as the published code normalises them."""
    likeness = [
        [math.exp(sum(a * b for a, b in zip(row, bank[m].tolist(), strict=True)) / temperature) for m in chosen]
        for row, chosen in zip(embeddings.tolist(), columns, strict=True)
    ]
    z = sum(map(sum, likeness)) / sum(map(len, likeness)) * len(bank)
    noise = (len(columns[0]) - 1) / len(bank)
    total = 0.0
    for own, *others in likeness:
        total -= math.log(own / z / (own / z + noise))
        total -= sum(math.log(noise / (other / z + noise)) for other in others)
    return total / len(likeness)


def test_the_loss_is_its_formula() -> None:
    contrast = prepared().contrasts[0]
    assert isinstance(contrast, Contrast)
    s, t = outputs(5).features["embedding"], outputs(7).features["embedding"]
    indices, noise = torch.tensor([1, 4, 7, 9]), torch.tensor([[0, 2], [5, 1], [0, 3], [1, 7]])
    columns = [[int(i), *row] for i, row in zip(indices, noise.tolist(), strict=True)]
    mine = torch.tensor([unit(row) for row in contrast.embed_student(s).tolist()])
    theirs = torch.tensor([unit(row) for row in contrast.embed_teacher(t).tolist()])
    banks = contrast.student_bank.memory.clone(), contrast.teacher_bank.memory.clone()
    expected = written_out(mine, banks[1], columns, 0.07) + written_out(theirs, banks[0], columns, 0.07)
    assert contrast(s, t, indices, noise).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss() -> None:
    """The memory moves on before the backward pass, which must not notice."""
    method = prepared(temperature=0.5)
    contrast = method.contrasts[0]
    indices, noise = torch.tensor([1, 4]), torch.tensor([[0, 2], [5, 1]])
    t = outputs(7, 2).features["embedding"]
    banks = contrast.student_bank, contrast.teacher_bank
    memory = [bank.memory.clone() for bank in banks]

    def loss(s: Tensor) -> Tensor:
        for bank, start in zip(banks, memory, strict=True):
            bank.memory.copy_(start)
            bank.log_z.fill_(1.0)  # else the normaliser, held constant, would move with the input
        value: Tensor = contrast(s, t, indices, noise)
        return value

    assert torch.autograd.gradcheck(loss, outputs(5, 2).features["embedding"].requires_grad_())


def test_memory_is_a_running_mean_of_length_one() -> None:
    method = prepared(momentum=0.25)
    contrast = method.contrasts[0]
    before = contrast.student_bank.memory.clone()
    method(outputs(5), outputs(7), batch_of(1, 4, 7, 9))
    for row, index in enumerate((1, 4, 7, 9)):
        new = unit(contrast.embed_student(outputs(5).features["embedding"])[row].tolist())
        mean = [0.25 * a + 0.75 * b for a, b in zip(before[index].tolist(), new, strict=True)]
        assert contrast.student_bank.memory[index].tolist() == pytest.approx(unit(mean))
    untouched = [0, 2, 3, 5, 6, 8]
    assert torch.equal(contrast.student_bank.memory[untouched], before[untouched])


def test_memory_rests_in_evaluation() -> None:
    method = prepared().eval()
    before = method.contrasts[0].teacher_bank.memory.clone()
    method(outputs(5), outputs(7), batch_of(1, 4, 7, 9))
    assert torch.equal(method.contrasts[0].teacher_bank.memory, before)


def test_the_first_batch_fixes_the_normaliser_and_a_checkpoint_keeps_it() -> None:
    method = prepared(negatives=6)
    method(outputs(5), outputs(7), batch_of(1, 4, 7, 9))
    first = method.contrasts[0].student_bank.log_z.clone()
    method(outputs(5, seed=9), outputs(7, seed=9), batch_of(0, 2, 3, 5))
    assert torch.equal(method.contrasts[0].student_bank.log_z, first)

    other = prepared(negatives=6)
    other.load_state_dict(method.state_dict())
    values = []
    for each in (method, other):
        torch.manual_seed(1)
        values.append(each(outputs(5), outputs(7), batch_of(1, 4, 7, 9))["crd"].item())
    assert values[0] == values[1]


def test_negatives_are_all_the_others_of_other_classes_alike() -> None:
    torch.manual_seed(0)
    drawn = OtherClasses(LABELS).draw(torch.arange(10), 20_000, seed=torch.tensor(0), epoch=3)
    for index in range(10):
        others = [i for i in range(10) if LABELS[i] != LABELS[index]]
        shares = drawn[index].bincount(minlength=10) / 20_000
        assert shares[others].tolist() == pytest.approx([1 / len(others)] * len(others), abs=0.02)
        assert shares.sum() == pytest.approx(float(shares[others].sum()))


def test_what_it_needs_is_named() -> None:
    with pytest.raises(ValueError, match="one class"):
        CRD().setup(Example(outputs(5), outputs(7), torch.zeros(10, dtype=torch.long)))
    with pytest.raises(ValueError, match="indices"):
        prepared()(outputs(5), outputs(7), replace(batch_of(1, 4, 7, 9), indices=None))


def test_samples_that_are_not_trained_on_are_never_drawn() -> None:
    labels = torch.where(torch.arange(len(LABELS)) % 3 == 0, -1, LABELS)  # 1, 2, 4, 5, 7 and 8 are left
    drawn = OtherClasses(labels).draw(torch.tensor([1, 2, 4]), 200, seed=torch.tensor(0), epoch=0)
    assert [set(row) for row in drawn.tolist()] == [{2, 4, 7, 8}, {1, 4, 5, 8}, {1, 2, 5, 7}]
    with pytest.raises(ValueError, match="one class"):
        OtherClasses(torch.tensor([-1, 2, 2, -1]))
