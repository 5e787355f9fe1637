"""A job that fails leaves the others to run, and all that failed are told of at the end."""

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

from distill.errors import SettingError
from distill.experiment import sweep

CONFIG = """
hydra:
  sweep: {{dir: {directory}, subdir: "${{hydra.job.num}}"}}
  callbacks: {{jobs: {{_target_: distill.experiment.sweep.Jobs}}}}
  output_subdir: null
x: 0
y: 0
"""


@pytest.fixture
def run_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Sweeps over x; `run_sweep("x=1,2")` gives the x of those that came to their end."""

    def execute(*arguments: str) -> list[int]:
        (tmp_path / "config.yaml").write_text(CONFIG.format(directory=tmp_path / "jobs"))
        monkeypatch.setattr(sys, "argv", ["sweep", "-m", *arguments])
        done: list[int] = []

        def work(config: DictConfig) -> int:
            if config.x == 1:
                raise SettingError("x=1: must be another")
            if config.x == 2:
                raise KeyError("ours")
            done.append(config.x)
            return int(config.x)

        @hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="config")
        def main(config: DictConfig) -> int | None:
            assert sweep.in_a_sweep()
            return sweep.job(lambda: work(config), lambda e: str(e) if isinstance(e, SettingError) else None)

        main()
        return done

    return execute


def test_the_others_run_and_those_that_failed_are_named(
    run_sweep: Callable[..., list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_sweep("x=0,1,3", "y=7") == [0, 3]
    assert "error: job 1: x=1: must be another\n" in capsys.readouterr().err
    assert sweep.Jobs.directory == tmp_path / "jobs"
    assert sweep.account(tmp_path / "jobs") == ("1 of 3 jobs failed: 1 (x=1): x=1: must be another", 2)
    assert run_sweep("x=0,2") == [0]  # what the first left is forgotten
    assert "KeyError: 'ours'" in capsys.readouterr().err
    assert sweep.account(tmp_path / "jobs") == ("1 of 2 jobs failed: 1 (x=2): KeyError: 'ours'", 1)
    assert run_sweep("x=0,3") == [0, 3]
    assert sweep.account(tmp_path / "jobs") is None


def test_a_batch_of_jobs_that_fails_leaves_the_next_to_run(run_sweep: Callable[..., list[int]]) -> None:
    assert run_sweep("x=1,2,3", "hydra.sweeper.max_batch_size=1") == [3]


def test_a_signal_ends_the_whole_sweep(tmp_path: Path, run_sweep: Callable[..., list[int]],
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        run_sweep("x=3,4")
