"""Terms as they are logged: without their weights, which are known beside them."""

import pytest
import torch.nn.functional as F
from torch import Tensor

from distill.methods import DIST, DKD, DML, FT, KD, NKD, PKT, RKD, Composite, DeiT, Method, SimKD, Supervised
from distill.methods.terms import LossTerms
from distill.types import Batch, Outputs


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def test_a_term_is_what_it_is_whatever_its_weight(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    light, heavy = KD(weight=0.1, label_weight=0.2), KD(weight=7, label_weight=3)
    terms = [method(student, teacher, batch) for method in (light, heavy)]
    assert values(terms[0].unweighted) == values(terms[1].unweighted)
    assert terms[0].unweighted["ce"].item() == pytest.approx(F.cross_entropy(student.logits, batch.targets).item())
    assert [each.weights for each in terms] == [{"ce": 0.2, "kd": 0.1}, {"ce": 3, "kd": 7}]
    assert values(terms[1]) == pytest.approx(
        {n: terms[1].weights[n] * v for n, v in values(terms[0].unweighted).items()}
    )


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (DKD(alpha=2, beta=3, weight=5), {"ce": 1, "tckd": 10, "nckd": 15}),
        (DIST(beta=2, gamma=3, weight=5), {"ce": 1, "dist_rows": 10, "dist_columns": 15}),
        (NKD(gamma=2, weight=5), {"ce": 1, "nkd_true": 5, "nkd_others": 10}),
        (RKD(["embedding"], ["embedding"], distance=2, angle=3, weight=5),
         {"ce": 1, "rkd_distance": 10, "rkd_angle": 15}),
    ],
    ids=["dkd", "dist", "nkd", "rkd"],
)  # fmt: skip
def test_weights_within_a_method_are_no_part_of_its_terms(
    method: Method, weights: dict[str, float], student: Outputs, teacher: Outputs, batch: Batch
) -> None:
    terms = method(student, teacher, batch)
    assert terms.weights == weights
    assert values(terms) == pytest.approx({n: weights[n] * v for n, v in values(terms.unweighted).items()})


def test_what_weight_leaves_alone() -> None:
    assert FT(weight=5).weight_of("reconstruction") == 1
    assert DML(weight=5, label_weight=2).weight_of("peers_dml") == 5
    assert DML(weight=5, label_weight=2).weight_of("peers_ce") == 2
    assert Supervised(label_weight=2).weight_of("ce") == 2


def test_labels_that_several_methods_weigh(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    both = Composite({"kd": KD(label_weight=0.1), "pkt": PKT(label_weight=0.7)})
    ce = F.cross_entropy(student.logits, batch.targets).item()
    terms = both(student, teacher, batch)
    assert terms.unweighted["ce"].item() == pytest.approx(ce)
    assert terms.weights["ce"] == pytest.approx(0.8)
    assert terms["ce"].item() == pytest.approx(0.8 * ce)
    for method in both.members:
        method.label_weight, method.schedules = 0.0, {"label_weight": lambda progress: 0.0}
    terms = both(student, teacher, batch)
    assert terms.weights["ce"] == terms["ce"].item() == 0
    assert terms.unweighted["ce"].item() == pytest.approx(ce)
    assert terms.total().item() == pytest.approx(sum(values(terms).values()))


def test_a_method_may_return_a_plain_dict(student: Outputs, teacher: Outputs, batch: Batch) -> None:
    class Plain(KD):
        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
            return dict(super().forward(student, teacher, batch))

    plain = Plain()(student, teacher, batch)
    assert LossTerms.of(plain).weights == {"ce": 1, "kd": 1}
    assert Composite({"plain": Plain()})(student, teacher, batch).unweighted["kd"].item() == plain["kd"].item()


def test_training_is_measured_by_the_network_that_is_deployed(student: Outputs) -> None:
    first, second = student.logits + 1, student.logits * 2
    heads = Outputs(student.logits, {"head": first, "head_dist": second})
    assert KD().deployed_logits(heads) is student.logits
    for method in (DeiT(), Composite({"kd": KD(), "deit": DeiT()})):
        answered = method.deployed_logits(heads)
        assert answered is not None
        assert answered.equal((first + second) / 2)
    simkd = SimKD(["head"], ["head"])
    assert simkd.deployed_logits(heads) is None
    assert Composite({"kd": KD(), "simkd": simkd}).deployed_logits(heads) is None
