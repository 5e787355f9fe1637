"""`data=text_table`: texts in, a student out, and what is said of it."""

import json

import pytest
import tiny_bert

transformers = pytest.importorskip("transformers")

NETWORKS = ("model@teacher=sequence_classifier", "model@student=sequence_classifier", "student.layers=[0,2]")
SHORT = ("teacher.max_epochs=5", "teacher.optimizer.lr=1e-2", "optimizer.lr=1e-2", "trainer.precision=32-true")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    tiny_bert.write_reviews(place / "train.tsv", 200, 0)
    tiny_bert.write_reviews(place / "val.tsv", 100, 1)
    return f"data.train={place}/train.tsv", f"data.val={place}/val.tsv"


@pytest.fixture(scope="module")
def run(tmp_path_factory, command, texts, encoder):
    directory = tmp_path_factory.mktemp("text") / "run"
    told = (*NETWORKS, f"teacher.path={encoder}", *SHORT, "trainer.max_epochs=3", f"hydra.run.dir={directory}")
    done = command("train.py", "data=text_table", *texts, *told)
    return directory, done.stdout


def test_a_run_says_what_it_found(run):
    directory, said = run
    summary = json.loads((directory / "summary.json").read_text())
    assert (summary["task"], summary["metric"]) == ("classification", "accuracy")
    assert summary["teacher"]["accuracy"] > 0.9
    assert {"f1", "mcc"} <= set(summary["student"])
    assert "200 training texts of 5 to 22 tokens in 2 classes of 100; 100 for validation" in said
    assert "texts/s" in said
    assert "images" not in said
    page = (directory / "report.html").read_text()
    assert "(100 texts)" in page


def test_bad_input_is_one_line_before_any_work(command, texts, encoder, tmp_path):
    (tmp_path / "bare").mkdir()
    tiny_bert.config().save_pretrained(tmp_path / "bare")
    given = ("data=text_table", *texts, *NETWORKS, f"teacher.path={tmp_path}/bare", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", *given, status=2)
    assert f"data.tokenizer={tmp_path}/bare: holds no tokenizer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run/summary.json").exists()
