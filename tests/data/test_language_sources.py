"""Files to language models' data, and one line for what cannot be read."""

import json

import pytest
import torch

from distill.data.language.chat import chat
from distill.data.language.documents import standard_library, text_files
from distill.data.order import TrainingOrder
from distill.errors import SettingError

pytest.importorskip("transformers")


def jsonl(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def turns(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_conversations_prompts_and_what_is_too_long(tmp_path):
    rows = [turns(f"question {i}", f"answer {i}") for i in range(8)]
    rows += [{"prompt": "2 + 2 = ", "completion": "4"}, turns("q" * 500, "never seen")]
    source = chat(train=jsonl(tmp_path / "a.jsonl", *rows), val_fraction=0.2, block_size=64)
    told = " ".join(source.notes)
    assert "1 dropped as too long" in told
    assert "⟦answer" in told
    assert 0 < float((source.train.next_ids != -100).double().mean()) < 1
    everything = chat(train=jsonl(tmp_path / "a.jsonl", *rows), val_fraction=0.2, block_size=64, loss_on="all")
    assert (everything.train.next_ids != -100).all()


def test_documents_stay_apart_and_scored_blocks_hold_one(tmp_path):
    for i in range(10):
        (tmp_path / f"{i}.txt").write_text(f"document {i} " * (i + 1))
    source = text_files(path=str(tmp_path), val_fraction=0.3, block_size=32)
    assert source.train.packed
    assert not source.val.packed
    assert len({*source.val.documents.tolist()}) == 3
    assert source.val.groups.shape == (len(source.val),)
    alone = text_files(path=str(tmp_path / "9.txt"), block_size=16)
    assert len(alone.train.ids) > len(alone.val.ids) > 0


def test_the_standard_library_is_the_same_each_time():
    first, again = (standard_library(characters=5000, val_characters=2000, block_size=32) for _ in range(2))
    assert torch.equal(first.train.ids, again.train.ids)
    assert first.num_classes == 257
    assert first.class_names[first.train.tokenizer.eos_token_id] == "<|end|>"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["{}"], r"line 1: must have `messages`"),
        ([turns("a", "b"), "{"], r"line 2: is no JSON"),
        (["[1]"], r"line 1: must be a JSON object, and is a list"),
        (
            [turns("q" * 99, "b"), turns("p" * 99, "b")],
            r"block_size=32: the prompts of all 1 samples",
        ),
        ([turns("a", "b")], r"data.val=null: one sample"),
    ],
)
def test_one_line_for_rows_that_cannot_be_used(tmp_path, rows, says):
    with pytest.raises(SettingError, match=says):
        chat(train=jsonl(tmp_path / "a.jsonl", *rows), block_size=32)


def test_one_line_for_files_that_cannot_be_read(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"fine\nnot \xff fine")
    with pytest.raises(SettingError, match=r"a.txt, line 2: is not UTF-8 \(byte 0xff\)"):
        text_files(path=str(file))
    with pytest.raises(SettingError, match="no such file or directory"):
        text_files(path=str(tmp_path / "b.txt"))
    with pytest.raises(SettingError, match=r"line 1: has no text 'text', but 'body'"):
        text_files(path=jsonl(tmp_path / "c.jsonl", {"body": "x"}))
    with pytest.raises(SettingError, match="no such directory; nothing is downloaded"):
        chat(train=jsonl(tmp_path / "d.jsonl", turns("a", "b"), turns("c", "d")), tokenizer="somebody/model")


def test_batches_of_a_step_know_how_many_positions_they_share(tmp_path):
    rows = [turns("q", "answer " * (i + 1)) for i in range(9)]
    source = chat(train=jsonl(tmp_path / "a.jsonl", *rows), val_fraction=0.2, block_size=128, packed=False)
    batches = source.batches("train", TrainingOrder(torch.arange(7), 2, 0))
    batches.accumulated = 2
    made = [*batches]
    counts = [int(batch.valid.sum()) for batch in made]
    assert [batch.counted for batch in made] == [sum(counts[:2]) / 2] * 2 + [counts[2] / 2]
    batches.accumulated = 1
    assert [batch.counted for batch in batches] == [None] * 3
