"""What a teacher writes once, and that data=chat reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.data.language.chat import chat
from distill.data.language.tokenizer import byte_tokenizer
from distill.errors import SettingError
from distill.experiment.generate import generate

transformers = pytest.importorskip("transformers")

ROWS = [
    {"prompt": "Say it: "},
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "never learned"}]},
    {"prompt": "More of", "completion": "what is not looked at"},
] * 4


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that often ends what it writes."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=257, max_position_embeddings=128, **sizes)
    model = transformers.LlamaForCausalLM(config)
    model.lm_head = torch.nn.Linear(16, 257, bias=False)
    with torch.no_grad():
        model.lm_head.weight[256] = 4 * model.model.norm.weight * torch.randn(16)
    folder = tmp_path_factory.mktemp("teacher")
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def written(folder: Path, teacher: Path, name: str, **settings: Any) -> list[dict[str, Any]]:
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    given = {
        "path": teacher,
        "input": folder / "prompts.jsonl",
        "output": folder / name,
        "max_new_tokens": 40,
        **settings,
    }
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("generate", [f"{key}={value}" for key, value in given.items()])
    return [json.loads(line) for line in generate(config).read_text().splitlines()]


def test_completions_that_end_are_kept_as_chat_reads_them(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = written(tmp_path, teacher, "one.jsonl")
    assert f"{len(rows)} completions, {len(ROWS) - len(rows)} left out, empty or not ended" in capsys.readouterr().out
    assert 2 <= len(rows) <= len(ROWS)
    for row in rows:
        if "messages" in row:
            assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
            assert row["messages"][1]["content"] != "never learned"
        else:
            assert row["completion"] != "what is not looked at"
    assert rows == written(tmp_path, teacher, "again.jsonl", batch_size=3)
    assert rows != written(tmp_path, teacher, "other.jsonl", seed=1)
    source = chat(train=str(tmp_path / "one.jsonl"), val_fraction=0.3, block_size=256)
    assert len(source.train) + len(source.val) >= 2


def test_what_cannot_be_is_one_line(teacher: Path, tmp_path: Path) -> None:
    for settings, said in (
        ({"max_new_tokens": 121}, "the longest prompt has .* tokens, and the model 128 positions; must be"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: must be 1 or more"),
        ({"input": tmp_path / "gone.jsonl"}, "gone.jsonl: no such file"),
        ({"path": tmp_path / "gone"}, "gone: no such directory; nothing is downloaded"),
        ({"input": teacher / "config.json"}, "config.json, line 1: is no JSON"),
    ):
        with pytest.raises(SettingError, match=said) as caught:
            written(tmp_path, teacher, "out.jsonl", **settings)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()
