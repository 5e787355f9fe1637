"""Networks of tokens: arguments by name, taps, layouts, forms, and a step of training."""

import torch
from torch import Tensor, nn

from distill import DistillModule
from distill.methods import KD, Taps
from distill.methods.fitnet import FitNet
from distill.models import cost
from distill.models.frozen import freeze
from distill.models.layers import list_layers, suggest_pairs
from distill.models.network import Network
from distill.models.taps import classifier, resolve
from distill.types import Batch, FeatureLayout


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.mix(hidden).relu()


class Encoder(nn.Module):
    """(N, T) ids to (N, classes): the mean over tokens that count, through some blocks."""

    def __init__(self, width: int, blocks: int, classes: int = 3) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(50, width)
        self.layer = nn.ModuleList(Block(width) for _ in range(blocks))
        self.classifier = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.embeddings(input_ids)
        for block in self.layer:
            hidden = block(hidden)
        mask = attention_mask.unsqueeze(2)
        return {"logits": self.classifier((hidden * mask).sum(1) / mask.sum(1))}


def inputs(count: int = 4, length: int = 16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (count, length), generator=generator)
    lengths = torch.randint(3, length, (count, 1), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(length) < lengths).long()}


def test_tensors_by_name_are_arguments_and_are_not_prepared() -> None:
    network, shown = Network(Encoder(8, 2)), inputs()
    assert network.preprocess(shown) is shown
    assert torch.equal(network(shown).logits, network.backbone(**shown)["logits"])
    assert cost.flops(network, shown) > 0
    assert cost.speeds({"student": network}, shown, batch_size=2)["student"].latency_ms.median > 0


def test_hidden_states_are_tapped_and_known_to_be_tokens() -> None:
    student, teacher, shown = Network(Encoder(8, 2)), Network(Encoder(12, 4)), inputs()
    ours, theirs = resolve(["stages", "embedding"], ["stages", "embedding"], student, teacher, shown)
    assert ours == ("layer.0", "layer.1", "classifier:input")
    assert theirs == ("layer.1", "layer.3", "classifier:input")
    pairs = suggest_pairs(list_layers(student.backbone, shown), list_layers(teacher.backbone, shown))
    assert ("layer.1", "layer.3") in [(one.path, other.path) for one, other in pairs]
    found = classifier(teacher, shown)
    assert found is not None
    assert found.in_features == 12


def test_a_step_of_training_with_logits_and_hidden_states() -> None:
    student, teacher, shown = Encoder(8, 2), Encoder(12, 4), inputs()
    fitnet = FitNet(student_layers=["stages"], teacher_layers=["stages"])
    module = DistillModule(student, teacher, [KD(), fitnet], example=shown)
    assert module.student.layouts["layer.1"] == FeatureLayout("tokens")
    batch = Batch(shown, torch.tensor([0, 1, 2, 0]), torch.arange(4))
    module.training_step(batch, 0).backward()
    assert student.layer[0].mix.weight.grad is not None  # type: ignore[union-attr]
    assert all(weight.grad is None for weight in teacher.parameters())
    assert module(shown).shape == (4, 3)
    assert fitnet.taps == Taps(("layer.0", "layer.1"), ("layer.1", "layer.3"))


def test_the_fastest_form_answers_tokens_too() -> None:
    network = Network(Encoder(8, 2)).eval()
    network.tap(["layer.0"])
    frozen, form = freeze(network, inputs(), "bf16-mixed")
    assert form.startswith("in bfloat16")
    assert frozen(inputs()).features["layer.0"].dtype == torch.bfloat16


def test_a_single_output_is_compared_as_the_number_that_it_is() -> None:
    network = Network(Encoder(8, 2, classes=1)).eval()
    with torch.no_grad():
        network.backbone.classifier.weight *= 1e-4  # type: ignore[operator, union-attr]
        network.backbone.classifier.bias.fill_(-network(inputs()).logits.mean().item())  # type: ignore[operator, union-attr]
    frozen, _ = freeze(network, inputs(), "bf16-mixed")  # in bfloat16 little is left of the differences
    ours, theirs = network(inputs()).logits.detach(), frozen(inputs()).logits
    assert float((ours - theirs).norm() / ours.norm()) < 5e-2
