"""The labels' cross-entropy: smoothing and weights of classes against torch's own, for any split of a batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from method_files import FILES

from distill.cli import CONFIGS
from distill.config import build
from distill.methods import DML, KD, Composite, Method, Supervised
from distill.methods.labels import LabelLoss, class_weights
from distill.tasks import UNKNOWN, Classification
from distill.types import Batch, Outputs

LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0])
SHOWN = TARGETS.bincount(minlength=3) / len(TARGETS)
MIXED = 0.7 * F.one_hot(TARGETS, 3).float() + 0.3 * F.one_hot(TARGETS.flip(0), 3).float()


def test_plain_it_is_the_cross_entropy_to_the_bit() -> None:
    assert torch.equal(LabelLoss()(LOGITS, TARGETS), F.cross_entropy(LOGITS, TARGETS))
    assert LabelLoss()(LOGITS.bfloat16(), TARGETS).dtype == torch.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("asked", ["balanced", [1.0, 2.0, 5.0], [3.0, 0.0, 1.0]])
def test_over_samples_as_they_are_shown_it_is_torchs_weighted_mean(asked: Any, smoothing: float) -> None:
    weights = class_weights(asked, SHOWN)
    expected = F.cross_entropy(LOGITS, TARGETS, weights, label_smoothing=smoothing)
    torch.testing.assert_close(LabelLoss(smoothing, weights)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("targets", [TARGETS, MIXED], ids=["classes", "mixed"])
def test_the_mean_over_parts_of_a_batch_is_that_of_the_whole(targets: torch.Tensor) -> None:
    loss = LabelLoss(0.2, class_weights("balanced", SHOWN))
    parts = [loss(LOGITS[part], targets[part]) for part in (slice(0, 4), slice(4, 8), slice(8, 12))]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(LOGITS, targets))


def test_mixed_labels_that_are_pure_count_as_classes() -> None:
    loss = LabelLoss(0.1, class_weights([1.0, 4.0, 2.0], SHOWN))
    torch.testing.assert_close(loss(LOGITS, F.one_hot(TARGETS, 3).float()), loss(LOGITS, TARGETS))


@pytest.mark.parametrize("mixed", [False, True])
def test_samples_without_a_label_add_nothing_and_count(mixed: bool) -> None:
    known = TARGETS.clone()
    known[8:] = UNKNOWN
    targets = Classification().as_probabilities(known, 3) if mixed else known
    logits = LOGITS.clone().requires_grad_()
    loss = LabelLoss(0.1, torch.ones(3))(logits, targets)
    torch.testing.assert_close(loss, LabelLoss(0.1)(LOGITS[:8], TARGETS[:8]) * 8 / 12)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[8:].any()
    assert logits.grad[:8].any(1).all()
    values = Classification().measure(F.one_hot(TARGETS, 3).float(), None, targets)
    assert values["accuracy"] == 1


def test_balanced_weights_give_each_class_as_much_to_say() -> None:
    weights = class_weights("balanced", torch.tensor([0.9, 0.08, 0.02, 0.0]))
    assert (weights[:3] * torch.tensor([0.9, 0.08, 0.02])).tolist() == pytest.approx([1 / 3] * 3)
    assert class_weights("balanced", torch.full((4,), 0.25)).tolist() == [1.0] * 4
    assert class_weights([7.0, 7.0], torch.tensor([0.3, 0.7])).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([1.0, 2.0], r"class_weights=\[1.0, 2.0\]: must be balanced, or a list of 3, one for each class"),
        ([1.0, 2.0, -1.0], "must be finite numbers, zero or more"),
        ([0.0, 0.0, 0.0], "must be above zero for a class that has training images"),
    ],
)
def test_impossible_weights_are_named(asked: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        class_weights(asked, SHOWN)


def configured(name: str) -> Method:
    overrides = ["experiment=deit"] if name == "deit" else [f"method={name}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return build.method(compose("train", overrides).method)


@pytest.mark.parametrize("name", ["deit", *(file.stem for file in FILES)])
def test_every_method_learns_labels_by_what_it_is_given(name: str) -> None:
    method, asked = configured(name), LabelLoss(0.3)
    method.learn_labels_by(asked)
    assert method.label_loss is asked
    method.label_weight = 1.0
    terms = method.label_terms(Outputs(LOGITS), Batch(torch.zeros(12, 1, 2, 2), TARGETS))
    torch.testing.assert_close(terms["ce"], F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.3))


def test_composed_methods_and_peers_learn_by_it_too() -> None:
    batch = Batch(torch.zeros(12, 1, 2, 2), TARGETS)
    plain, smooth = Composite({"kd": KD(), "labels": Supervised()}), Composite({"kd": KD(), "labels": Supervised()})
    smooth.learn_labels_by(LabelLoss(0.3))
    ratio = smooth(Outputs(LOGITS), Outputs(LOGITS), batch)["ce"] / plain(Outputs(LOGITS), Outputs(LOGITS), batch)["ce"]
    expected = F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.3) / F.cross_entropy(LOGITS, TARGETS)
    torch.testing.assert_close(ratio, expected)
    dml = DML()
    dml.learn_labels_by(LabelLoss(0.3))
    dml.peers = torch.nn.ModuleList([_Answers()])
    terms = dml(Outputs(LOGITS), None, batch)
    torch.testing.assert_close(terms["peers_ce"], terms["ce"])


class _Answers(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> Outputs:
        return Outputs(LOGITS)


def test_no_method_has_a_cross_entropy_with_the_labels_of_its_own() -> None:
    """Only WSLD asks for one beside, to weigh samples, and HardLabel and DeiT for one with the teacher's classes."""
    sources = {file.stem: file.read_text() for file in Path(build.__file__).parents[1].glob("methods/*.py")}
    own = {name for name, text in sources.items() if "F.cross_entropy(" in text}
    assert own == {"labels", "wsld", "hard_label", "deit"}
