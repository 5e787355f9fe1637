"""What every feature method must do, on maps of differing sizes and channels, on tokens, in half precision."""

import copy

import pytest
import torch
from feature_examples import NAMES, SHAPES, batch_of, example, leaves, prepared, resolve
from torch import Tensor, nn

import distill.methods as methods
from distill.methods import Composite, Method
from distill.types import Outputs


def own_parameters(method: Method) -> list[nn.Parameter]:
    return [parameter for parameter in method.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_student_and_the_method_and_never_the_teacher(name: str, kind: str, autocast: bool) -> None:
    given = example(kind)
    method = prepared(name, given)
    student, teacher = leaves(given.student), leaves(given.teacher)
    seen_student, seen_teacher = student, teacher
    if autocast:
        seen_student, seen_teacher = (
            Outputs(o.logits.bfloat16(), {name: f.bfloat16() for name, f in o.features.items()})
            for o in (student, teacher)
        )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        terms = method(seen_student, seen_teacher, batch_of(given))
    for term, value in terms.items():
        assert value.shape == (), term
        assert value.dtype == torch.float32, term
        assert value.isfinite(), term
    torch.stack(list(terms.values())).sum().backward()
    for layer in method.taps.student:
        gradient = student.features[layer].grad
        assert gradient is not None, layer
        assert gradient.isfinite().all(), layer
        assert gradient.abs().max() > 0, layer
    for parameter in own_parameters(method):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert all(tensor.grad is None for tensor in (teacher.logits, *teacher.features.values()))
    assert given.classifier is not None
    assert all(parameter.grad is None for parameter in given.classifier.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_bf16_autocast_stays_near_fp32(name: str) -> None:
    given = example("maps")
    method = prepared(name, given, **({"masked": 0.0} if name == "MGD" else {}))
    exact = method(given.student, given.teacher, batch_of(given))
    with torch.autocast("cpu", torch.bfloat16):
        rough = method(given.student, given.teacher, batch_of(given))
    for term, value in exact.items():
        torch.testing.assert_close(rough[term], value, rtol=0.03, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_to_imitate(name: str) -> None:
    """Steps on the student's features and the method's parameters lower the imitation."""
    given = example("maps")
    method = prepared(name, given)
    student = leaves(given.student)
    optimizer = torch.optim.Adam([*student.features.values(), *own_parameters(method)], lr=0.03)
    values = []
    for _ in range(25):
        terms = method(student, given.teacher, batch_of(given))
        loss = sum((term for key, term in terms.items() if key != "ce"), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name: str) -> None:
    given = example("maps")
    method = prepared(name, given)
    for tensor in (*own_parameters(method), *(b for b in method.buffers() if b.is_floating_point())):
        tensor.data.add_(0.1)
    again = prepared(name, given)
    again.load_state_dict(copy.deepcopy(method.state_dict()))
    method.eval()
    again.eval()
    torch.manual_seed(3)
    before = method(given.student, given.teacher, batch_of(given))
    torch.manual_seed(3)
    after = again(given.student, given.teacher, batch_of(given))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[term], after[term]) for term in before)


@pytest.mark.parametrize("name", NAMES)
def test_features_and_projections_in_bfloat16_alone(name: str) -> None:
    given = example("maps")
    method = prepared(name, given).bfloat16()

    def half(o: Outputs) -> Outputs:
        return Outputs(o.logits.bfloat16(), {name: f.bfloat16() for name, f in o.features.items()})

    terms = method(half(given.student), half(given.teacher), batch_of(given))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@pytest.mark.parametrize("name", NAMES)
def test_weights_scale_their_terms(name: str) -> None:
    given = example("maps")
    one, two = (prepared(name, given, weight=weight, label_weight=weight) for weight in (1.0, 2.0))
    torch.manual_seed(3)
    single = one(given.student, given.teacher, batch_of(given))
    torch.manual_seed(3)
    double = two(given.student, given.teacher, batch_of(given))
    for term in single:
        torch.testing.assert_close(double[term], (1 if term == "reconstruction" else 2) * single[term])


def test_methods_compose_and_the_classifier_reaches_them() -> None:
    given = example("maps")
    members = {name.lower(): resolve(getattr(methods, name)()) for name in ("AT", "SRRL", "ReviewKD")}
    composite = Composite(members)
    composite.setup(given)
    terms = composite(given.student, given.teacher, batch_of(given))
    assert set(terms) == {"ce", "at", "srrl_feature", "srrl_logits", "reviewkd"}
    backbone = nn.Identity()
    assert composite.deploy(backbone) is backbone


def test_review_warms_up() -> None:
    method = methods.ReviewKD(warmup=0.5, weight=4.0)
    weights = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.set_progress(progress)
        weights.append(method.weight)
    assert weights == [0.0, 2.0, 4.0, 4.0]


def gradient_norm(tensor: Tensor) -> float:
    assert tensor.grad is not None
    return tensor.grad.norm().item()


def test_the_student_does_not_learn_from_the_reconstruction() -> None:
    given = example("maps")
    method = prepared("FT", given)
    student = leaves(given.student)
    method(student, given.teacher, batch_of(given))["reconstruction"].backward()
    assert student.features["layer3"].grad is None
    assert all(gradient_norm(p) > 0 for p in method.paraphrasers.parameters())  # type: ignore[union-attr]
    method.zero_grad()
    method(student, given.teacher, batch_of(given))["ft"].backward()
    assert all(p.grad is None for p in method.paraphrasers.parameters())  # type: ignore[union-attr]
