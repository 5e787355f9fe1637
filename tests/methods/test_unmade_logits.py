"""Methods on logits that are not made: hidden states and their output layer."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from distill.losses import Projection
from distill.methods import JSD, KD, NKD, TVD, AlphaBeta, Method, ReverseKD, Skew, Symmetric
from distill.methods.labels import LabelLoss
from distill.types import Batch, Outputs


class TokenLoss(LabelLoss):
    """As a language task has it, in its dense form."""

    def forward(self, projection, targets, counted=None):
        logits = projection.logits().unflatten(0, targets.shape).movedim(-1, 1)
        return F.cross_entropy(logits, targets, label_smoothing=self.smoothing)


def outputs(seed, hidden=5, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((3, 4, hidden), (9, hidden))]
    parts = [part.requires_grad_(requires_grad) for part in parts]
    return Outputs(torch.empty(3, 0), projection=Projection(*parts)), parts


def batch():
    targets = torch.randint(9, (3, 4), generator=torch.Generator().manual_seed(2))
    targets[1, 2:] = -100
    return Batch({"input_ids": targets}, targets, valid=targets != -100)


@pytest.mark.parametrize(
    "method",
    [KD(temperature=2), ReverseKD(), JSD(beta=0.3), Skew(), Skew(reverse=True), Symmetric(), TVD(), AlphaBeta()],
)
def test_a_pass_in_chunks_is_the_mean_over_the_tokens_that_count(method: Method):
    method.learn_labels_by(TokenLoss(smoothing=0.1))
    (student, leaves), (teacher, _) = outputs(0, requires_grad=True), outputs(1, hidden=7)
    terms = method(student, teacher, batch())
    found = torch.autograd.grad(terms.total(), leaves)

    rows = batch().valid
    dense = [Outputs(each.made().movedim(1, -1)[rows]) for each in (student, teacher)]
    plain = Batch(torch.empty(10, 1), batch().targets[rows])
    method.learn_labels_by(LabelLoss(smoothing=0.1))
    expected = method(*dense, plain)
    assert terms.keys() == expected.keys()
    for name in terms:
        torch.testing.assert_close(terms[name], expected[name])
    torch.testing.assert_close(found, torch.autograd.grad(expected.total(), leaves))


def test_other_methods_are_shown_the_tokens_that_count_as_samples():
    method = NKD()
    method.learn_labels_by(TokenLoss())
    (student, _), (teacher, _) = outputs(0), outputs(1)
    terms = method(student, teacher, batch())
    rows = batch().valid
    dense = [Outputs(each.made().movedim(1, -1)[rows]) for each in (student, teacher)]
    method.learn_labels_by(LabelLoss())
    expected = method(*dense, Batch(torch.empty(10, 1), batch().targets[rows]))
    for name in expected:
        torch.testing.assert_close(terms[name], expected[name])


def test_batches_of_unequal_lengths_that_share_a_step_are_one_batch():
    method = KD(label_weight=0.0)
    (student, leaves), (teacher, _) = outputs(0, requires_grad=True), outputs(1)
    whole = torch.autograd.grad(method(student, teacher, batch()).total(), leaves)

    def part(outputs, rows):
        return replace(outputs, projection=replace(outputs.projection, hidden=outputs.projection.hidden[rows]))

    total = 0.0
    for row in range(3):
        rows, data = slice(row, row + 1), batch()
        one = Batch({}, data.targets[rows], valid=data.valid[rows], counted=10 / 3)
        total = total + method(part(student, rows), part(teacher, rows), one).total() / 3
    torch.testing.assert_close(torch.autograd.grad(total, leaves), whole)
