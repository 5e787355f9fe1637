"""docs/python.md does what it says: its snippets are one script that runs."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_snippets_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(snippets) == 6
    trainer = pl.Trainer
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    monkeypatch.setattr(pl, "Trainer", lambda **given: trainer(**{**given, **quiet}))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "script"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice on workers and intervals of logging
        for snippet in snippets:
            exec(compile(snippet, str(PAGE), "exec"), names)
    assert (tmp_path / "student.pt").is_file()
    assert names["logits"].shape == (60, 3)
    assert names["module"].learning_rate is not None
