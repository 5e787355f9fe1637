"""Numbers as labels: correlations, weights, scores, and what has no sense without classes."""

import pytest
import scipy.stats
import torch
from torch import Tensor

from distill.errors import SettingError
from distill.methods import KD, FitNet, LogitMSE, Method, Supervised
from distill.methods.labels import LabelLoss
from distill.tasks import Classification, Regression
from distill.tasks.base import check_method
from distill.tasks.correlation import pearson, spearman

TASK = Regression()


def numbers(count: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(6, (count,), generator=generator).float()  # with ties
    return truth + torch.randn(count, generator=generator), truth


def test_correlations_are_those_of_scipy() -> None:
    said, truth = numbers()
    assert float(pearson(said, truth)) == pytest.approx(
        scipy.stats.pearsonr(said.double(), truth.double()).statistic, abs=1e-12
    )
    assert float(spearman(said, truth)) == pytest.approx(scipy.stats.spearmanr(said, truth).statistic, abs=1e-12)
    assert float(spearman(torch.ones(5), torch.arange(5))) == 0


def test_a_weight_is_how_often_a_sample_counts() -> None:
    said, truth = numbers(20)
    weights = torch.randint(4, (3, 20), generator=torch.Generator().manual_seed(1)).double()
    for correlation in (pearson, spearman):
        found = correlation(said, truth, weights)
        for row, value in zip(weights.long(), found, strict=True):
            repeated = correlation(said.repeat_interleave(row), truth.repeat_interleave(row))
            assert float(value) == pytest.approx(float(repeated), abs=1e-12)


def test_scores_of_batches_are_those_of_all() -> None:
    said, truth = numbers()
    taught = said + 0.1 * truth
    evaluation, metrics = TASK.evaluation(1), TASK.epoch_metrics()
    for place in range(0, 50, 20):
        part = slice(place, place + 20)
        evaluation.update(said[part, None], truth[part], taught[part, None])
        for metric in metrics.values():
            metric.update(said[part, None], truth[part])
    values = evaluation.scored().values
    assert values["spearman"] == pytest.approx(scipy.stats.spearmanr(said, truth).statistic)
    assert values["mse"] == pytest.approx(float((said - truth).square().mean()))
    assert values["agreement"] == pytest.approx(scipy.stats.spearmanr(said, taught).statistic)
    assert float(metrics["spearman"].compute()) == pytest.approx(values["spearman"])
    assert float(metrics["pearson"].compute()) == pytest.approx(values["pearson"])
    assert torch.equal(evaluation.samples, -(said - truth).square())
    assert evaluation.standing(0.0).convincing
    assert float(evaluation.metric(torch.ones(1, 50))) == pytest.approx(values["spearman"])


def test_the_labels_loss_is_the_squared_error_in_float32_or_better() -> None:
    loss = TASK.label_loss()
    logits = torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16)
    assert float(loss(logits, torch.tensor([0.0, 1.0]))) == 2.5
    assert loss(logits, torch.tensor([0.0, 1.0])).dtype == torch.float32
    with pytest.raises(SettingError, match=r"^label_smoothing=0.1: needs classes"):
        TASK.label_loss(0.1)


@pytest.mark.parametrize("method", [KD(), LogitMSE(), FitNet(), Supervised()])
def test_methods_that_compare_distributions_are_refused(method: Method) -> None:
    if isinstance(method, KD):
        with pytest.raises(SettingError, match=r"^KD: compares distributions .* choose logit_mse"):
            check_method(TASK, method)
    else:
        check_method(TASK, method)


def test_f1_and_matthews_correlation_of_classes() -> None:
    from sklearn.metrics import f1_score, matthews_corrcoef

    generator = torch.Generator().manual_seed(0)
    for classes, average in ((2, "binary"), (4, "macro")):
        logits = torch.randn(60, classes, generator=generator)
        targets = torch.randint(classes, (60,), generator=generator)
        evaluation = Classification().evaluation(classes)
        for part in (slice(0, 40), slice(40, 60)):
            evaluation.update(logits[part], targets[part], None)
        values, chosen = evaluation.scored().values, logits.argmax(1)
        assert values["f1"] == pytest.approx(f1_score(targets, chosen, average=average))
        assert values["mcc"] == pytest.approx(matthews_corrcoef(targets, chosen))
    assert isinstance(Classification().label_loss(), LabelLoss)
