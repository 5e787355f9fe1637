"""The wheel in another environment, away from the checkout."""

import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "PYTHONPATH")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    # The build tool of this environment, where there is one: then nothing is downloaded.
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(target), str(ROOT), cwd=target)
    (file,) = target.glob("*.whl")
    return file


def test_configs_types_and_templates_are_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    configs = {f"distill/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")}
    assert len(configs) > 50
    templates = {f"distill/report/templates/{name}" for name in ("report.html", "style.css", "script.js")}
    assert configs | templates | {"distill/py.typed"} <= inside
    assert not [name for name in inside if name.startswith(("tests", "scripts", "configs"))]


def test_the_installed_command_runs_in_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    python = str(place / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", str(wheel),
        cwd=tmp_path)  # fmt: skip
    (site,) = place.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(here))
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(python, "-c", "import distill, distill.cli as c; print(distill.__file__, c.CONFIGS)", cwd=empty).split()
    assert all(Path(path).is_relative_to(site) for path in where)
    command = str(place / "bin" / "distill-train")
    out = run(command, "trainer.max_epochs=1", "teacher.max_epochs=1", "baseline=false", cwd=empty)
    (summary,) = empty.glob("outputs/*/*/summary.json")
    assert json.loads(summary.read_text())["student"]["name"] == "cnn4"
    assert f"{summary.parent}/report.html" in out
    assert {path.name for path in (place / "bin").glob("distill-*")} >= {
        "distill-train", "distill-evaluate", "distill-export", "distill-predict", "distill-compare",
    }  # fmt: skip
