"""The student that SimKD deploys: its backbone under the teacher's classifier."""

import copy

import pytest
import torch
from torch import Tensor, nn

from distill.methods import KD, Composite, Example, SimKD, Taps
from distill.methods.replaced_head import WithReplacedHead
from distill.types import Batch, Outputs

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(width: int, stride: int) -> nn.Sequential:
    torch.manual_seed(width)
    parts = {
        "stem": nn.Conv2d(3, width, 3, padding=1),
        "layer1": nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1, stride=stride), nn.ReLU()),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "head": nn.Linear(2 * width, 5),
    }
    sequence = nn.Sequential()
    for name, part in parts.items():
        sequence.add_module(name, part)
    return sequence


def answer(net: nn.Sequential, images: Tensor) -> Outputs:
    feature = net.layer1(net.stem(images))
    return Outputs(net.head(net.pool(feature)), {"layer1": feature})


def connected(student: nn.Sequential, teacher: nn.Sequential) -> SimKD:
    method = SimKD()
    method.taps = Taps(("layer1",), ("layer1",))
    with torch.no_grad():
        method.setup(
            Example(answer(student, IMAGES), answer(teacher, IMAGES), torch.zeros(6), copy.deepcopy(teacher.head))
        )
    return method


def test_the_deployed_student_answers_by_projector_and_classifier() -> None:
    student, teacher = network(2, 1), network(4, 2)
    method = connected(student, teacher).eval()
    deployed = method.deploy(student)
    feature = nn.functional.adaptive_avg_pool2d(student.layer1(student.stem(IMAGES)), 4)
    expected = teacher.head(method.head.projector(feature).mean((2, 3)))
    torch.testing.assert_close(deployed(IMAGES), expected)
    assert not any(module._forward_hooks for module in student.modules())


def test_a_perfect_imitation_answers_as_the_teacher_does() -> None:
    student, teacher = network(4, 2), network(4, 2)
    method = connected(student, teacher)
    method.head.projector = nn.Identity()  # the student's features are the teacher's already
    term = method.compute_losses(answer(student, IMAGES), answer(teacher, IMAGES), Batch(IMAGES, torch.zeros(6)))
    assert term["simkd"] == 0
    torch.testing.assert_close(method.deploy(student)(IMAGES), teacher(IMAGES))


def test_it_shares_the_weights_that_are_trained() -> None:
    student, teacher = network(2, 1), network(4, 2)
    method = connected(student, teacher)
    deployed = method.deploy(student).eval()
    with torch.no_grad():
        before = deployed(IMAGES)
        for parameter in (*student.layer1.parameters(), *method.head.projector.parameters()):
            parameter.add_(0.1)
        assert not torch.allclose(before, deployed(IMAGES))


def test_copies_and_state_dicts_stand_alone() -> None:
    student, teacher = network(2, 1), network(4, 2)
    deployed = connected(student, teacher).deploy(student).eval()
    twin = copy.deepcopy(deployed)
    other = connected(network(2, 1), teacher).deploy(network(2, 1)).eval()
    other.load_state_dict(deployed.state_dict())
    expected = deployed(IMAGES)
    torch.testing.assert_close(other(IMAGES), expected)
    with torch.no_grad():
        deployed.backbone.stem.weight.zero_()
    torch.testing.assert_close(twin(IMAGES), expected)


def test_it_exports() -> None:
    student, teacher = network(2, 1), network(4, 2)
    deployed = connected(student, teacher).deploy(student).eval()
    program = torch.export.export(deployed, (IMAGES,), strict=False)
    torch.testing.assert_close(program.module()(IMAGES), deployed(IMAGES))


def test_in_company_it_deploys_the_same() -> None:
    student, teacher = network(2, 1), network(4, 2)
    method = connected(student, teacher)
    deployed = Composite({"kd": KD(), "simkd": method}).deploy(student)
    assert isinstance(deployed, WithReplacedHead)
    assert deployed.head is method.head


def test_a_layer_that_is_no_submodule_is_refused() -> None:
    with pytest.raises(AttributeError, match="nowhere"):
        WithReplacedHead(network(2, 1), "nowhere", nn.Identity())
