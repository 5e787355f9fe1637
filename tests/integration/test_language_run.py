"""`data=standard_library` from the first token to a directory that transformers reads."""

import json
import math

import pytest
import torch
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.predict import predict_files

transformers = pytest.importorskip("transformers")

TINY = ("data.characters=20000", "data.val_characters=5000", "data.block_size=64", "data.student_fraction=0.5")
WRITING = ("on_policy.fraction=0.5", "on_policy.max_new_tokens=8")
SHORT = ("teacher.max_epochs=1", "trainer.max_epochs=1", "data.batch_size=16", "trainer.precision=32-true")


def composed(script, *overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(script, list(overrides))


@pytest.fixture(scope="module")
def run(tmp_path_factory, command):
    directory = tmp_path_factory.mktemp("language") / "run"
    done = command("train.py", "data=standard_library", *TINY, *SHORT, *WRITING, f"hydra.run.dir={directory}")
    return directory, done.stdout


def test_a_run_says_what_it_found(run):
    directory, said = run
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["task"] == "language modelling"
    assert (summary["metric"], summary["higher_is_better"]) == ("perplexity", False)
    for stage in ("teacher", "baseline", "student"):
        assert 1 < summary[stage]["perplexity"] == summary[stage]["score"] < 257
        assert summary[stage]["tokens_per_second"] > 0
    assert math.isclose(summary["gain"], summary["baseline"]["perplexity"] - summary["student"]["perplexity"])
    assert summary["gain_points"] is None
    assert "100.0% of the tokens shown are followed by one that counts" in said
    assert "what counts" in said
    assert (directory / "report.html").is_file()


def test_it_is_scored_again_the_same(run):
    directory, _ = run
    evaluate_run(composed("evaluate", f"run={directory}"))
    summary = json.loads((directory / "summary.json").read_text())
    again = json.loads((directory / "evaluation-standard library.json").read_text())
    for stage in ("teacher", "baseline", "student"):
        for score in ("perplexity", "accuracy", "ece"):
            assert again[stage][score] == pytest.approx(summary[stage][score], rel=1e-5)


def test_transformers_reads_what_is_exported(run):
    directory, _ = run
    export_run(composed("export", f"run={directory}", "format=hf"))
    model = transformers.AutoModelForCausalLM.from_pretrained(directory / "student-hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory / "student-hf")
    text = "import sys\n"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == text
    with torch.no_grad():
        assert model(ids).logits.shape == (1, len(text), 257)
    with pytest.raises(SettingError, match="is there already"):
        export_run(composed("export", f"run={directory}", "format=hf"))


def test_a_language_model_names_no_classes(run):
    with pytest.raises(SettingError, match="format=hf writes its student for the text generation"):
        predict_files(composed("predict", f"run={run[0]}", "input=README.md"))
