"""The table of methods is current, and says of a few what is known of them."""

from pathlib import Path

from distill.config.method_table import methods_table

ROOT = Path(__file__).parents[2]


def test_the_table_is_current() -> None:
    written = (ROOT / "docs" / "methods.md").read_text()
    assert written == methods_table(ROOT / "configs" / "method"), "run python scripts/list_methods.py"


def test_rows() -> None:
    rows = {line.split("|")[1].split("`")[1]: line.split("|")[2:] for line in
            methods_table(ROOT / "configs" / "method").splitlines() if line.startswith("| `")}  # fmt: skip
    assert len(rows) == len(list((ROOT / "configs" / "method").glob("*.yaml")))
    assert "1503.02531" in rows["kd"][0]
    assert rows["kd"][1].strip() == "labels"
    assert "temperature 4.0, weight 0.9, label_weight 0.1" in rows["kd"][2]
    assert rows["logit_mse"][1].strip() == ""
    assert rows["dml"][1].strip() == "labels; no teacher"
    assert rows["crd"][1].strip() == "layers: embedding; memory of every training sample; labels"
    assert rows["simkd"][1].strip() == "layers: last_stage; the teacher's classifier"
    assert rows["srrl"][1].strip().startswith("layers: last_stage for the teacher's embedding")
    assert "standardize_logits true" in rows["kd_standardized"][2]
