"""Perplexity and its kin over the tokens that count, against plain arithmetic."""

import pytest
import torch
import torch.nn.functional as F

from distill.errors import SettingError
from distill.losses import Projection
from distill.tasks import LanguageModelling
from distill.types import Outputs

TASK = LanguageModelling()


def projection(seed, samples=4, positions=6, tokens=9):
    generator = torch.Generator().manual_seed(seed)
    shapes = (samples, positions, 5), (tokens, 5)
    return Projection(*(torch.randn(shape, generator=generator) for shape in shapes))


def targets():
    made = torch.randint(9, (4, 6), generator=torch.Generator().manual_seed(7))
    made[0, 2:] = -100
    made[3, :4] = -100
    return made


def dense(each, labels):
    return each.logits().unflatten(0, labels.shape)[labels != -100]


def test_scores_are_means_over_the_tokens_that_count_however_batches_are_cut():
    student, teacher, labels = projection(0), projection(1), targets()
    evaluation = TASK.evaluation(9)
    for rows in torch.arange(4).split(3):
        evaluation.update(student[rows], labels[rows], teacher[rows])
    values = evaluation.scored().values
    s, t, known = dense(student, labels), dense(teacher, labels), labels[labels != -100]
    assert values["perplexity"] == pytest.approx(F.cross_entropy(s, known).exp().item(), rel=1e-5)
    assert values["accuracy"] == pytest.approx((s.argmax(1) == known).double().mean().item())
    assert values["agreement"] == pytest.approx((s.argmax(1) == t.argmax(1)).double().mean().item())
    kl = F.kl_div(s.log_softmax(1), t.log_softmax(1), log_target=True, reduction="batchmean")
    assert values["kl"] == pytest.approx(kl.item(), rel=1e-5)
    assert evaluation.samples.shape == (4,)
    weights = torch.tensor([[1.0, 1, 1, 1], [0, 2, 0, 0]], dtype=torch.float64)
    whole, one = evaluation.metric(weights).tolist()
    assert whole == pytest.approx(values["perplexity"])
    assert one == pytest.approx(F.cross_entropy(student[1:2].logits(), labels[1]).exp().item(), rel=1e-5)


def test_identical_models_agree_with_a_kl_of_zero():
    evaluation = TASK.evaluation(9)
    evaluation.update(projection(0), targets(), projection(0))
    assert evaluation.scored().values["kl"] == 0
    assert evaluation.scored().values["agreement"] == 1


def test_a_guesser_who_knows_the_frequencies_is_no_match():
    labels = torch.tensor([[0, 1, 0, 1], [0, 1, -100, -100]])
    assert TASK.chance(labels) == pytest.approx(2.0)
    sure = Projection(F.one_hot(labels.clamp_min(0), 2).float() * 20, torch.eye(2))
    evaluation = TASK.evaluation(2)
    evaluation.update(sure, labels, None)
    assert evaluation.standing(2.0).convincing
    assert str(evaluation.standing(2.0)) == "1 on 6 validation tokens, chance is 2"


def test_validation_measures_the_same():
    student, labels = projection(0), targets()
    values = TASK.measure_unseen(student, Outputs(torch.empty(4, 0), projection=projection(1)), labels)
    assert values["ce"].item() == pytest.approx(F.cross_entropy(dense(student, labels), labels[labels != -100]).item())
    metric = TASK.epoch_metrics()["perplexity"]
    metric.update(student, labels)
    assert metric.compute().log().item() == pytest.approx(values["ce"].item(), rel=1e-5)


def test_labels_loss_counts_what_it_is_told():
    student, labels = projection(0), targets()
    loss = TASK.label_loss(0.1)
    expected = F.cross_entropy(dense(student, labels), labels[labels != -100], label_smoothing=0.1)
    torch.testing.assert_close(loss(student, labels), expected)
    torch.testing.assert_close(loss(student, labels, 8.0), expected * 16 / 8)


def test_what_is_refused():
    with pytest.raises(SettingError, match="no token counts"):
        TASK.check_targets("train", torch.full((2, 3), -100), 9)
    with pytest.raises(SettingError, match="run from 0 to 9, and there are 9 tokens"):
        TASK.check_targets("train", torch.tensor([[0, 9]]), 9)
    with pytest.raises(ValueError, match="class_weights=balanced"):
        TASK.class_weights("balanced", torch.ones(9))
