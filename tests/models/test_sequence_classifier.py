"""Encoders with a head: from a directory, with some layers, with another architecture; and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import torch

from distill.errors import SettingError
from distill.models.preprocessing import preprocessing_of
from distill.models.sequence_classifier import sequence_classifier

transformers = pytest.importorskip("transformers")

INPUTS = {
    "input_ids": torch.tensor([[2, 4, 7, 3], [2, 5, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {"id2label": {0: "blame", 1: "praise"}, "label2id": {"blame": 0, "praise": 1}}
    return tiny_bert.save_classifier(tmp_path_factory.mktemp("classifier"), **names)


def test_a_bare_encoder_gets_a_head_and_knows_that_it_is_new(encoder: Path) -> None:
    network: Any = sequence_classifier(num_classes=3, path=str(encoder)).eval()
    bare = transformers.BertModel.from_pretrained(encoder)
    assert network(**INPUTS).logits.shape == (2, 3)
    torch.testing.assert_close(network.bert(**INPUTS).last_hidden_state, bare(**INPUTS).last_hidden_state)
    known = preprocessing_of(network)
    assert (known.trained, known.pretrained, known.name) == (False, True, "bert 3x16")


def test_a_classifier_keeps_its_head_where_that_is_for_these_classes(classifier: Path) -> None:
    network = sequence_classifier(num_classes=2, path=str(classifier)).eval()
    own = transformers.BertForSequenceClassification.from_pretrained(classifier).eval()
    assert torch.equal(network(**INPUTS).logits, own(**INPUTS).logits)
    assert preprocessing_of(network).trained
    assert preprocessing_of(network).classes == ("blame", "praise")
    other = sequence_classifier(num_classes=3, path=str(classifier))
    assert other(**INPUTS).logits.shape == (2, 3)
    assert not preprocessing_of(other).trained
    kept = sequence_classifier(num_classes=3, path=str(classifier), own_head=True)
    assert preprocessing_of(kept).trained
    assert kept(**INPUTS).logits.shape == (2, 2)


def test_a_student_copies_layers_or_changes_the_architecture(classifier: Path) -> None:
    teacher: Any = sequence_classifier(num_classes=2, path=str(classifier))
    copied: Any = sequence_classifier(num_classes=2, layers=[0, 2], base_path=str(classifier))
    for ours, theirs in ((0, 0), (1, 2)):
        for one, other in zip(
            copied.bert.encoder.layer[ours].parameters(), teacher.bert.encoder.layer[theirs].parameters(), strict=True
        ):
            assert torch.equal(one, other)
    assert torch.equal(copied.classifier.weight, teacher.classifier.weight)
    smaller: Any = sequence_classifier(
        num_classes=2, config={"hidden_size": 8, "num_hidden_layers": 1}, base_path=str(classifier)
    )
    assert (smaller.config.hidden_size, smaller.config.num_hidden_layers, smaller.config.vocab_size) == (8, 1, 18)


@pytest.mark.parametrize("made", [{"layers": [2]}, {"config": {"hidden_size": 8}}])
def test_what_is_kept_builds_the_same_layers_without_any_directory(made: dict[str, Any], classifier: Path) -> None:
    network = sequence_classifier(num_classes=2, base_path=str(classifier), max_length=40, **made).eval()
    untrained = {"num_classes": 2, "max_length": 40, **preprocessing_of(network).untrained}
    again = sequence_classifier(**untrained).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(network(**INPUTS).logits, again(**INPUTS).logits)
    assert again.config.id2label == {0: "blame", 1: "praise"}


def test_what_cannot_be_is_one_line(encoder: Path, classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    other = tiny_bert.tokenizer()
    other.add_tokens(["new"])
    other.save_pretrained(tmp_path / "other")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"path": "bert-base-uncased"}, "path=bert-base-uncased: no such directory; nothing is downloaded"),
        ({"path": str(tmp_path)}, "path=.*: holds no configuration of a model"),
        ({}, "path=null: give the directory"),
        ({"path": str(encoder), "layers": [0]}, "its own configuration counts"),
        ({"layers": [0]}, r"layers=\[0\]: copies the teacher's, which has no path"),
        ({"layers": [3], "base_path": str(encoder)}, r"layers=\[3\]: must be different numbers from 0 to 2"),
        ({"config": {"hidden_size": 8}}, "names no model_type"),
        ({"config": {"hidden_size": 7}, "base_path": str(encoder)}, "config=.*makes no such model"),
        ({"path": str(encoder), "max_length": 41}, "data.max_length=41: the model has 40 positions"),
        ({"path": str(encoder), "tokenizer": str(tmp_path / "other")}, "its tokenizer is not that of data.tokenizer"),
        (
            {"config": {"vocab_size": 9}, "base_path": str(encoder), "tokenizer": str(encoder)},
            "vocab_size=9: must be 18 or more",
        ),
    ]
    for given, said in refused:
        with pytest.raises(SettingError, match=said) as caught:
            sequence_classifier(num_classes=2, **given)
        assert "\n" not in str(caught.value)
    assert sequence_classifier(num_classes=2, path=str(classifier), tokenizer=str(encoder)) is not None
