"""`data=text_table`: texts in, a student out, and what is said of it."""

import json

import pytest
import tiny_bert
import torch
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.predict import predict_files

transformers = pytest.importorskip("transformers")

NETWORKS = ("model@teacher=sequence_classifier", "model@student=sequence_classifier", "student.layers=[0,2]")
SHORT = ("teacher.max_epochs=5", "teacher.optimizer.lr=1e-2", "optimizer.lr=1e-2", "trainer.precision=32-true")


def composed(script, *overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(script, list(overrides))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    tiny_bert.write_reviews(place / "train.tsv", 200, 0)
    tiny_bert.write_reviews(place / "val.tsv", 100, 1)
    return f"data.train={place}/train.tsv", f"data.val={place}/val.tsv"


@pytest.fixture(scope="module")
def run(tmp_path_factory, command, texts, encoder):
    directory = tmp_path_factory.mktemp("text") / "run"
    told = (
        *NETWORKS,
        "method=[tinybert,minilm,kd]",
        f"teacher.path={encoder}",
        *SHORT,
        "trainer.max_epochs=3",
        f"hydra.run.dir={directory}",
    )
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


def test_it_is_scored_again_the_same_and_on_other_texts(run, texts, tmp_path):
    directory, _ = run
    summary = json.loads((directory / "summary.json").read_text())
    tiny_bert.write_reviews(tmp_path / "new.tsv", 20, 2)
    other = ("data=text_table", f"data.val={tmp_path}/new.tsv", f"predictions={tmp_path}/said.csv")
    evaluate_run(composed("evaluate", f"run={directory}", *other))
    again = json.loads((directory / "evaluation-new.json").read_text())
    assert again["texts"] == 20
    assert {"f1", "mcc"} <= set(again["student"])
    lines = (tmp_path / "said.csv").read_text().splitlines()
    assert lines[0] == "name,target,predicted,probability,teacher"
    assert lines[1].startswith("new.tsv:2,blame,")
    same = (f"data.val={texts[1].partition('=')[2]}", "data=text_table")
    evaluate_run(composed("evaluate", f"run={directory}", *same))
    scores = json.loads((directory / "evaluation-val.json").read_text())
    for stage in ("teacher", "baseline", "student"):
        assert scores[stage]["accuracy"] == summary[stage]["accuracy"]


def test_the_student_names_classes_of_new_texts(run, tmp_path):
    directory, _ = run
    (tmp_path / "new.txt").write_text("the film was very good\n\na bad plot\n")
    predict_files(composed("predict", f"run={directory}", f"input={tmp_path}/new.txt", f"output={tmp_path}/said.csv"))
    head, *lines = (tmp_path / "said.csv").read_text().splitlines()
    assert head == "file,class,probability,class2,probability2,error"
    assert [line.split(",")[0] for line in lines] == ["new.txt:1", "new.txt:3"]
    with pytest.raises(SettingError, match=r"must be .txt with a text on each line, or .csv, .tsv, .jsonl, .parquet"):
        predict_files(composed("predict", f"run={directory}", f"input={tmp_path}/new.png"))


def test_transformers_reads_what_is_exported(run, tmp_path, capsys):
    directory, _ = run
    export_run(composed("export", f"run={directory}", "format=hf", f"output={tmp_path}/student"))
    assert "parity: logits read again are the same" in capsys.readouterr().out
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    with torch.no_grad():
        logits = model(**tokenizer("a very good film", return_tensors="pt")).logits
    assert model.config.id2label == {0: "blame", 1: "praise"}
    assert logits.shape == (1, 2)
    with pytest.raises(SettingError, match="choose format=hf"):
        export_run(composed("export", f"run={directory}", "format=onnx"))


def test_bad_input_is_one_line_before_any_work(command, texts, encoder, tmp_path):
    (tmp_path / "bare").mkdir()
    tiny_bert.config().save_pretrained(tmp_path / "bare")
    given = ("data=text_table", *texts, *NETWORKS, f"teacher.path={tmp_path}/bare", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", *given, status=2)
    assert f"data.tokenizer={tmp_path}/bare: holds no tokenizer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run/summary.json").exists()
