"""A teacher's kept answers to texts: hidden states or likeliest tokens of a language model, a classifier's logits."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import tiny_bert
import torch

from distill import DistillModule
from distill.data.language.documents import text_files
from distill.data.module import DataModule
from distill.data.source import Source
from distill.data.text_table import text_table
from distill.errors import SettingError
from distill.methods import KD, LogitMSE, Method
from distill.models.network import Network
from distill.teachers import CachedTeacher, LiveTeacher, Teacher, TeacherInputs
from distill.training.module import answers_of

transformers = pytest.importorskip("transformers")

from distill.models.causal_lm import causal_lm  # noqa: E402
from distill.models.sequence_classifier import sequence_classifier  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]
EPOCHS, BATCH = 2, 4
SMALL = {"intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    folder = tmp_path_factory.mktemp("texts")
    for number in range(24):
        words = ["the", "film", "was", f"number {number}", "and", "long"] * (1 + number % 3)
        (folder / f"{number}.txt").write_text(" ".join(words))
    tables = tiny_bert.write_reviews(folder / "train.tsv", 20, 0), tiny_bert.write_reviews(folder / "val.tsv", 8, 1)
    encoder = str(tiny_bert.save_encoder(folder / "encoder"))
    given = {"train": str(tables[0]), "val": str(tables[1]), "text": "text", "label": "label"}
    return {
        "packed": text_files(path=str(folder), block_size=40),
        "padded": text_files(path=str(folder), block_size=40, packed=False),
        "classes": text_table(**given, tokenizer=encoder),
    }


def network(source: Source, width: int, seed: int = 1) -> Network:
    torch.manual_seed(seed)
    if source.task.name == "classification":
        config = tiny_bert.config(hidden_size=width).to_dict()
        return Network(sequence_classifier(num_classes=2, config=config))
    return Network(causal_lm(num_classes=257, config={"hidden_size": width, **SMALL}))


def cached(source: Source, folder: Path, **settings: Any) -> CachedTeacher:
    inputs = TeacherInputs(source, torch.arange(len(source.train)), epochs=EPOCHS, batch_size=BATCH)
    return CachedTeacher(network(source, 16), inputs, dir=str(folder), **settings)


def train(source: Source, teacher: Teacher, method: Method) -> tuple[list[torch.Tensor], dict[str, float]]:
    """The weights of a student after training, and what its validation measured."""
    data = DataModule(source, batch_size=BATCH)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, num_sanity_val_steps=0, use_distributed_sampler=False, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    module = DistillModule(network(source, 8, 0), teacher, method, task=source.task, optimizer=optimizer)
    trainer.fit(module, datamodule=data)
    measured = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    return [parameter.detach().clone() for parameter in module.parameters()], measured


@pytest.mark.parametrize(("kind", "method"), [("packed", KD), ("padded", KD), ("padded", LogitMSE), ("classes", KD)])
def test_weights_are_those_of_the_live_run_bit_for_bit(
    sources: dict[str, Source], kind: str, method: type[Method], tmp_path: Path
) -> None:
    source = sources[kind]
    live, measured = train(source, LiveTeacher(network(source, 16)), method())
    for filled in (False, True):
        teacher = cached(source, tmp_path, validate=32 if filled else 0)
        ours, found = train(source, teacher, method())
        assert all(torch.equal(a, b) for a, b in zip(ours, live, strict=True))
        assert found == measured
        assert "val/kl" in found
        assert (teacher.passes == 0) is filled


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_the_likeliest_tokens_keep_the_divergence(sources: dict[str, Source], kind: str, tmp_path: Path) -> None:
    source = sources[kind]
    teacher = cached(source, tmp_path, top_k=256, temperatures=[2.0])  # and the last in the tail
    live, student = LiveTeacher(network(source, 16)), network(source, 8, 0)
    module = DistillModule(student, live, KD(temperature=2.0), task=source.task)
    indices = torch.arange(BATCH)
    (batch,) = list(teacher.inputs.batches("train", 0, indices, torch.device("cpu")))
    batch.split = "train"
    outputs = student(batch.inputs)
    found, expected = (module.method(outputs, answers_of(asked, batch), batch).total() for asked in (teacher, live))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    again = teacher(batch)
    assert again.top_k is not None
    tokens = live(batch).made().argmax(1)
    assert torch.equal(again.likeliest()[batch.valid], tokens[batch.valid])


def test_what_cannot_be_kept_is_told_before_any_work(sources: dict[str, Source], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"teaching.top_k=8: LogitMSE needs all logits"):
        cached(sources["packed"], tmp_path, top_k=8).check(LogitMSE())
    with pytest.raises(SettingError, match=r"teaching.features=pooled: averages over the padding of texts"):
        cached(sources["classes"], tmp_path, features="pooled").check(KD())


def test_tapped_tokens_are_those_of_a_live_teacher_however_far_they_are_padded(
    sources: dict[str, Source], tmp_path: Path
) -> None:
    teacher, live = cached(sources["classes"], tmp_path, features=True), LiveTeacher(network(sources["classes"], 16))
    layer = "bert.encoder.layer.1"
    for each in (teacher, live):
        each.tap([layer])
    shortest, longest = sources["classes"].train.lengths.argsort()[[0, -1]]  # type: ignore[union-attr]
    for indices in (shortest[None], torch.stack([shortest, longest])):
        (batch,) = list(teacher.inputs.batches("train", 0, indices, torch.device("cpu")))
        batch.split = "train"
        there = batch.inputs["attention_mask"].bool()  # type: ignore[index]
        for _ in range(2):
            kept, expected = teacher(batch).features[layer], live(batch).features[layer]
            assert torch.equal(kept[there], expected[there])
    assert teacher.passes == 2


@pytest.mark.parametrize(("tokens", "index"), [(257, 2), (49_152, 2), (151_936, 3)])
def test_a_token_takes_at_most_400_bytes(tokens: int, index: int) -> None:
    from distill.teachers.record import Layout

    kept = Layout(tokens, "float16", 64, (1, 2, 3, 4, 5, 6, 8, 10), positions=(512,), hidden=576, longest=512)
    assert kept.row_bytes == 512 * (64 * (2 + index) + 8 * 4) + 4
    assert kept.row_bytes / 512 < 400
