"""Methods for encoders of text, against plain loops in float64 and the attention that transformers itself works out."""

from typing import Any

import pytest
import tiny_bert
import torch
from torch import Tensor

from distill.errors import SettingError
from distill.methods import HiddenCosine, Method, MiniLM, TinyBERT
from distill.models.cnn import cnn
from distill.models.network import Network
from distill.teachers import LiveTeacher
from distill.training.connect import connect
from distill.types import Batch

transformers = pytest.importorskip("transformers")

from distill.models.sequence_classifier import sequence_classifier  # noqa: E402

LENGTHS = (9, 5, 7)
MASK = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
IDS = torch.randint(4, 18, (3, 9), generator=torch.Generator().manual_seed(3)) * MASK
BATCH = Batch({"input_ids": IDS, "attention_mask": MASK}, torch.tensor([0, 1, 1]), torch.arange(3))


def encoder(seed: int, **changed: Any) -> Network:
    torch.manual_seed(seed)
    config = tiny_bert.config(**changed).to_dict()
    return Network(sequence_classifier(num_classes=2, config=config)).double().eval()


def connected(method: Method, student: Network, teacher: Network) -> Method:
    torch.manual_seed(0)
    connect(method, student, LiveTeacher(teacher), BATCH.inputs, None)
    return method.double()


def said(network: Network) -> Any:
    """Hidden states and attentions as transformers gives them."""
    model: Any = network.backbone
    model.set_attn_implementation("eager")
    return model(**BATCH.inputs, output_hidden_states=True, output_attentions=True)


def own(network: Network, layer: int, part: str) -> Tensor:
    """(N, heads, T, d) of a block, made again of what goes into it."""
    model: Any = network.backbone
    made: Tensor = getattr(model.bert.encoder.layer[layer].attention.self, part)(said(network).hidden_states[layer])
    return made.unflatten(-1, (model.config.num_attention_heads, -1)).transpose(1, 2)


@torch.no_grad()
def test_minilm_is_the_divergence_of_attention_and_of_relations_of_values() -> None:
    student, teacher = encoder(0, hidden_size=8, num_hidden_layers=2), encoder(1)
    method = connected(MiniLM(label_weight=0), student, teacher)
    found = method.compute_losses(student(BATCH.inputs), teacher(BATCH.inputs), BATCH)
    ours, theirs = said(student).attentions[-1], said(teacher).attentions[-1]
    values = own(student, 1, "value"), own(teacher, 2, "value")
    attention, relations = [], []
    for sample, length in enumerate(LENGTHS):
        for head in range(2):
            for token in range(length):
                p, q = (each[sample, head, token, :length] for each in (theirs, ours))
                attention.append((p * (p / q).log()).sum())
                q, p = (
                    (v[sample, head, :length] @ v[sample, head, token] / v.shape[-1] ** 0.5).softmax(0) for v in values
                )
                relations.append((p * (p / q).log()).sum())
    torch.testing.assert_close(found["attention"], torch.stack(attention).mean(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["values"], torch.stack(relations).mean(), rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_tinybert_is_the_squared_distance_of_states_and_of_scores() -> None:
    student, teacher = encoder(0, hidden_size=8, num_hidden_layers=1), encoder(1)
    method: Any = connected(TinyBERT(label_weight=0, attention_weight=3.0), student, teacher)
    assert method.taps.student[0] == "bert.encoder.layer.0"
    assert method.taps.teacher == (
        "bert.encoder.layer.2", "bert.encoder.layer.2.attention.self.query", "bert.encoder.layer.2.attention.self.key",
    )  # fmt: skip
    found = method.compute_losses(student(BATCH.inputs), teacher(BATCH.inputs), BATCH)
    ours, theirs = said(student).hidden_states[1], said(teacher).hidden_states[3]
    scores = [
        own(network, layer, "query") @ own(network, layer, "key").transpose(2, 3) / size**0.5
        for network, layer, size in ((student, 0, 4), (teacher, 2, 8))
    ]
    states, attention = [], []
    for sample, length in enumerate(LENGTHS):
        there = slice(0, length)
        projected = ours[sample, there] @ method.projection.weight.T + method.projection.bias
        states.append((projected - theirs[sample, there]).square().flatten())
        attention.append((scores[0] - scores[1])[sample, :, there, there].square().flatten())
    torch.testing.assert_close(found["hidden"], torch.cat(states).mean(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["attention"], torch.cat(attention).mean(), rtol=1e-9, atol=1e-12)
    assert (method.weight_of("hidden"), method.weight_of("attention")) == (1.0, 3.0)


@torch.no_grad()
def test_hidden_cosine_is_one_minus_the_cosine_of_each_token() -> None:
    student, teacher = encoder(0, num_hidden_layers=1), encoder(1)
    method = connected(HiddenCosine(label_weight=0), student, teacher)
    found = method.compute_losses(student(BATCH.inputs), teacher(BATCH.inputs), BATCH)
    pairs = zip(said(student).hidden_states[-1][MASK.bool()], said(teacher).hidden_states[-1][MASK.bool()], strict=True)
    each = torch.stack([1 - s @ t / (s.norm() * t.norm()) for s, t in pairs])
    assert len(each) == sum(LENGTHS)
    torch.testing.assert_close(found["hidden_cosine"], each.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [HiddenCosine, MiniLM, TinyBERT])
def test_padding_counts_nowhere_and_a_copy_has_no_loss(kind: type[Method]) -> None:
    teacher, student = encoder(1), encoder(1)
    method = connected(kind(label_weight=0), student, teacher)
    if isinstance(method, TinyBERT):
        torch.nn.init.eye_(method.projection.weight)
        torch.nn.init.zeros_(method.projection.bias)
    outputs, answers = student(BATCH.inputs), teacher(BATCH.inputs)
    padded = ~MASK.bool()
    for feature in answers.features.values():
        feature.data[padded] = 1e3
    terms = method.compute_losses(outputs, answers.detach(), BATCH)
    assert all(abs(float(term.detach())) < 1e-12 for term in terms.values())
    for parameter in student.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    sum(method.compute_losses(student(BATCH.inputs), answers.detach(), BATCH).values()).backward()  # type: ignore[union-attr]
    grads = [parameter.grad for name, parameter in student.named_parameters() if "layer.1" in name]
    assert all(grad is None or bool(grad.isfinite().all()) for grad in grads)
    assert any(grad is not None and float(grad.abs().max()) > 0 for grad in grads)


def test_what_does_not_fit_is_told_before_training() -> None:
    student, teacher = encoder(0, hidden_size=8), encoder(1)
    with pytest.raises(ValueError, match="hidden states are of width 8, the teacher's of 16; must be one"):
        connected(HiddenCosine(), student, teacher)
    with pytest.raises(ValueError, match="have 2 and 4 heads of attention; must be as many"):
        connected(MiniLM(), student, encoder(1, num_attention_heads=4))
    with pytest.raises(ValueError, match=r"heads=3: must divide the networks' widths, \[8, 16\]"):
        connected(MiniLM(heads=3), student, teacher)
    assert connected(MiniLM(heads=8), student, encoder(1, num_attention_heads=4)).taps.student
    images = Network(cnn(num_classes=2, in_channels=1))
    with pytest.raises(SettingError, match="has no one layer that makes attention's query"):
        connect(TinyBERT(), images, LiveTeacher(images), torch.rand(2, 1, 8, 8), None)
    with pytest.raises(ValueError, match=r"must be tokens \(N, T, D\)"):
        connect(HiddenCosine(), images, LiveTeacher(images), torch.rand(2, 1, 8, 8), None)
