"""Tables of texts: every format gives the same tokens, and what is wrong is said with its line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_bert import tokenizer

from distill.data.tables import read_rows
from distill.data.text_table import text_table
from distill.errors import SettingError
from distill.tasks import Classification, Regression

ROWS = [
    {"sentence": "a good film .", "kind": "1"},
    {"sentence": 'the "long" plot', "kind": "0"},
    {"sentence": "very bad !", "kind": "0"},
    {"sentence": "good and short , the plot", "kind": "1"},
]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif file.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        cells = [",".join('"' + str(cell).replace('"', '""') + '"' for cell in row.values()) for row in rows]
        file.write_text("\n".join([",".join(rows[0]), *cells, ""]), encoding="utf-8")
    else:
        lines = ["\t".join(map(str, row.values())) for row in rows]
        file.write_text("\n".join(["\t".join(rows[0]), *lines, ""]), encoding="utf-8")
    return str(file)


def load(encoder: Path, train: str, **changed: Any) -> Any:
    given = {"text": "sentence", "label": "kind", "val": train, "tokenizer": str(encoder), **changed}
    return text_table(train=train, **given)


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "parquet"])
def test_each_format_gives_the_tokens_of_the_tokenizer(suffix: str, encoder: Path, tmp_path: Path) -> None:
    source = load(encoder, write(tmp_path / f"train.{suffix}", ROWS))
    assert source.task == Classification()
    assert source.class_names == ["0", "1"]
    assert source.train.targets.tolist() == [1, 0, 0, 1]
    expected = tokenizer()([row["sentence"] for row in ROWS], padding=True, return_tensors="pt")
    found, width = source.train.inputs(torch.arange(4)), expected["input_ids"].shape[1]
    assert set(found) == {"input_ids", "token_type_ids", "attention_mask"}
    for name, tensor in found.items():
        assert torch.equal(tensor[:, :width], expected[name])
        assert not tensor[:, width:].any()
    assert source.shown(1) == 'the "long" plot'
    assert source.train.name(1).startswith(f"train.{suffix}:")
    assert source.format.max_length == 40  # positions of the model beside the tokenizer


def test_a_saved_data_set_brings_its_splits_and_the_names_of_its_classes(encoder: Path, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "kind": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"sentence": [row["sentence"] for row in ROWS], "kind": [1, 0, 0, 1]}
    splits = {name: datasets.Dataset.from_dict(rows, features=features) for name in ("train", "validation", "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    source = load(encoder, str(tmp_path / "saved"), val=None)
    assert source.class_names == ["no", "yes"]
    assert source.train.targets.tolist() == source.test.targets.tolist() == [1, 0, 0, 1]


def test_pairs_are_two_segments_and_the_longer_is_cut(encoder: Path, tmp_path: Path) -> None:
    rows = [{"sentence": "good film", "other": "bad " * 30, "kind": str(i % 2)} for i in range(4)]
    source = load(encoder, write(tmp_path / "train.tsv", rows), pair="other", max_length=12)
    inputs = source.train.inputs(torch.tensor([0]))
    assert inputs["attention_mask"].sum() == 12
    assert inputs["token_type_ids"][0, :12].tolist() == [0] * 4 + [1] * 8
    assert inputs["input_ids"][0, 1:3].tolist() == tokenizer().convert_tokens_to_ids(["good", "film"])
    assert source.notes == [f"4 of 4 {part} texts are cut to 12 tokens (data.max_length)" for part in ("train", "val")]


@pytest.mark.parametrize(
    ("labels", "kind", "task"),
    [(["0.5", "1", "4.25", "3"], "auto", Regression()), (["1", "2", "3", "1"], "number", Regression()),
     (["0.5", "1", "1", "0.5"], "classes", Classification()), (["b", "a", "a", "b"], "auto", Classification())],
)  # fmt: skip
def test_labels_are_classes_or_numbers(labels: list[str], kind: str, task: Any, encoder: Path, tmp_path: Path) -> None:
    rows = [{**row, "kind": label} for row, label in zip(ROWS, labels, strict=True)]
    source = load(encoder, write(tmp_path / "train.csv", rows), labels=kind)
    assert source.task == task
    if task == Regression():
        assert source.train.targets.tolist() == [float(label) for label in labels]
        assert source.train.targets.dtype == torch.float32
        assert source.num_classes == 1
    else:
        assert [source.class_names[target] for target in source.train.targets] == labels


def test_without_a_validation_file_a_share_of_each_class_is_held_back(encoder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "train.tsv", [{**row, "number": i} for i, row in enumerate(5 * ROWS)])
    source = load(encoder, file, val=None, val_fraction=0.2)
    assert (len(source.train), len(source.val)) == (16, 4)
    assert source.val.targets.bincount().tolist() == [2, 2]
    assert {*source.train.names, *source.val.names} == {f"train.tsv:{line}" for line in range(2, 22)}


def test_columns_by_place_where_the_first_line_names_none(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.tsv").write_text("good film\t1\nbad film\t0\n")
    source = load(encoder, str(tmp_path / "bare.tsv"), text=0, label=1)
    assert source.train.targets.tolist() == [1, 0]
    assert source.train.name(0) == "bare.tsv:1"
    with pytest.raises(SettingError, match=r"^data.text=0: a number is a column's place"):
        load(encoder, str(tmp_path / "bare.tsv"), text=0)


HEAD = b"sentence\tkind\n"
BROKEN: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.tsv", HEAD + b"good\t1\n", {"text": "sentense"}, "line 2 has no such column; did you mean sentence"),
    ("a.tsv", HEAD + b"\t1\n", {}, "^a.tsv:2: its sentence is empty"),
    ("a.jsonl", b'{"sentence": 3, "kind": 1}\n', {}, "^a.jsonl:1: its sentence is 3, not text"),
    ("a.tsv", HEAD + b"good\t\n", {}, "^a.tsv:2: its kind is empty"),
    ("a.tsv", HEAD + b"good\tno\n", {"classes": ["not"]}, "^a.tsv:2: its label 'no' is none of .* did you mean not"),
    ("a.tsv", HEAD + b"good\tno\n", {"labels": "number"}, "^a.tsv:2: its label 'no' is no number"),
    ("a.tsv", HEAD + b"good\t1\nb\xe4d\t0\n", {}, "a.tsv, line 3: is not UTF-8"),
    ("a.jsonl", b'{"sentence": "good", "kind": 1}\n{"sentence": \n', {}, "a.jsonl, line 2: is no JSON"),
    ("a.csv", b"sentence,kind\ngood,1,2\n", {}, "a.csv, line 2: has 3 cells, and must have 2"),
    ("a.csv", b'sentence,kind\n"good,1\n', {}, "a.csv, line 2: cannot be read"),
    ("a.parquet", b"no parquet", {}, "a.parquet: cannot be read as Parquet"),
    ("a.tsv", HEAD, {}, "^data.train=.*holds no row"),
    ("a.docx", b"", {}, r"^data.train=.*must be a table: .csv, .tsv, .jsonl, .parquet"),
    ("a.tsv", HEAD + b"good\t1\n", {"tokenizer": None}, "^data.tokenizer=null"),
    ("a.tsv", HEAD + b"good\t1\n", {"tokenizer": "user/model"}, "^data.tokenizer=user/model: no such directory"),
    ("a.tsv", HEAD + b"good\t1\n", {"max_length": 2}, "^data.max_length=2: the tokenizer puts 2 tokens around"),
]


@pytest.mark.parametrize(("name", "content", "changed", "said"), BROKEN, ids=[said for *_, said in BROKEN])
def test_what_is_wrong_is_one_line(
    name: str, content: bytes, changed: dict[str, Any], said: str, encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingError, match=said) as caught:
        load(encoder, str(tmp_path / name), **changed)
    assert "\n" not in str(caught.value)


def test_lines_break_where_files_say_so_alone(tmp_path: Path) -> None:
    text = "one\x85two\u2028three"
    for name in ("a.tsv", "a.jsonl"):
        file = Path(write(tmp_path / name, [{"sentence": text, "kind": "1"}]))
        assert [row.cells["sentence"] for row in read_rows(file, "data.train", {"data.text": "sentence"})] == [text]


def test_other_labels_in_the_validation_file_are_told(encoder: Path, tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", ROWS)
    val = write(tmp_path / "val.tsv", [{"sentence": "good", "kind": "2"}])
    with pytest.raises(SettingError, match=r"^val.tsv:2: its label '2' is none of the classes; known: 0, 1"):
        load(encoder, train, val=val)
