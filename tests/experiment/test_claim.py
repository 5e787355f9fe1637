"""One run, one directory."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from distill.cli import CONFIGS
from distill.errors import SettingError
from distill.experiment.lock import Directories, held, new_directory


def test_each_that_asks_for_a_directory_gets_another(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: new_directory(str(tmp_path / "day/time")), range(8)))
    assert sorted(given) == sorted(str(tmp_path / "day" / name) for name in
                                   ("time", *(f"time-{number}" for number in range(1, 8))))  # fmt: skip
    assert all(Path(directory).is_dir() for directory in given)


@pytest.mark.parametrize("command", ["train", "cache_teacher"])
def test_a_command_takes_one_new_directory(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        given, timed, exact = (
            compose(command, overrides, return_hydra_config=True)
            for overrides in ([], ["hydra.run.dir=runs/${now:%Y}"], ["hydra.run.dir=runs/mine"])
        )
    assert list(tmp_path.iterdir()) == []  # settings are looked at without a run
    callback = Directories()
    another = given.copy()  # of the same second
    for config in (given, another, given, timed, exact):
        callback.on_run_start(config)
        callback.on_multirun_start(config)
    assert sorted(map(str, Path().glob("outputs/*/*"))) == [given.hydra.run.dir, another.hydra.run.dir]
    assert [directory.name for directory in tmp_path.glob("runs/*")] == [str(timed.hydra.run.dir).removeprefix("runs/")]
    assert exact.hydra.run.dir == "runs/mine"
    assert len(list(tmp_path.glob("multirun/*/*"))) == 4


def test_a_directory_is_held_until_its_process_ends(tmp_path: Path) -> None:
    code = f"import pathlib, time\nfrom distill.experiment.lock import held\n" \
        f"with held(pathlib.Path({str(tmp_path)!r}), 'x'):\n" \
        "    print('held', flush=True)\n    time.sleep(60)\n"  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(SettingError, match=r"hydra\.run\.dir=.*: another run is at work there"):  # noqa: SIM117
        with held(tmp_path, "hydra.run.dir"):
            pass
    process.kill()
    process.communicate()
    with held(tmp_path, "resume"):
        assert (tmp_path / ".lock").is_file()
