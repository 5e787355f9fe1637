"""Teachers of language models: several joined to one, and what compiling tries."""

from contextlib import nullcontext

import pytest
import torch

from distill.losses import kl_divergence
from distill.methods import KD, LogitMSE, Method
from distill.models.network import Network
from distill.tasks import LanguageModelling
from distill.teachers.ensemble import EnsembleTeacher
from distill.training.compiling import Work
from distill.training.module import DistillModule
from distill.types import Batch

pytest.importorskip("transformers")

from distill.models.causal_lm import causal_lm

SMALL = {"intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
TARGETS = torch.tensor([[5, 6, -100, 4], [-100, 2, 3, 1]])
BATCH = Batch({"input_ids": torch.tensor([[1, 5, 6, 7], [8, 9, 2, 3]])}, TARGETS, torch.arange(2), TARGETS != -100)


def network(seed: int, width: int = 16) -> Network:
    torch.manual_seed(seed)
    return Network(causal_lm(num_classes=12, config={"hidden_size": width, **SMALL}))


@pytest.mark.parametrize("method", [KD(temperature=1.0, label_weight=0.0), LogitMSE(label_weight=0.0)])
def test_several_language_models_teach_as_one(method: Method) -> None:
    teachers = [network(1), network(2, 8)]
    module = DistillModule(network(0, 8), EnsembleTeacher(teachers, "probabilities"), method, task=LanguageModelling())
    outputs = module.student(BATCH.inputs)
    assert module.teacher is not None
    (found,) = module.method(outputs, module.teacher(BATCH), BATCH).unweighted.values()
    taught = torch.stack([teacher(BATCH.inputs).made().softmax(1) for teacher in teachers]).mean(0).log().detach()
    rows = [x.movedim(1, -1).flatten(0, 1)[BATCH.valid.flatten()] for x in (outputs.made(), taught)]  # type: ignore[union-attr]
    expected = kl_divergence(*rows) if isinstance(method, KD) else (rows[0] - rows[1]).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    found.backward()
    assert all(parameter.grad is not None for parameter in module.student.parameters())


def test_a_language_model_is_tried_with_gradients() -> None:
    student = network(0)
    Work(BATCH.inputs, 1, nullcontext).train(student)
    assert any(parameter.grad is not None for parameter in student.parameters())
