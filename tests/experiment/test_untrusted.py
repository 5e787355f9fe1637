"""Files of strangers: a run's directory that names code of its own, and files that are broken on purpose."""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from distill.cli import CONFIGS
from distill.config.run_config import parse
from distill.data.arrays import arrays
from distill.endings import mistake
from distill.errors import SettingError
from distill.experiment import pipeline
from distill.experiment.directory import check_named_configs, load_config, save_config
from distill.experiment.evaluate import evaluate_run
from distill.experiment.export import export_run
from distill.experiment.finished import keep_networks, load_run
from distill.experiment.predict import predict_files
from distill.experiment.resume import resumed
from distill.models.weights_file import read_weights, save_weights
from distill.teachers.store import stores
from distill.training.checkpoint_files import damage, newest_whole

SCORES: dict[str, float | None] = {"accuracy": 0.5, "ece": 0.1, "agreement": None, "kl": None}


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(overrides))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a finished run."""
    directory = tmp_path_factory.mktemp("run")
    config = composed("train", "trainer=cpu")
    save_config(config, directory)
    prepared = pipeline.load(parse(config), directory)
    student = prepared.network("student")
    save_weights(student.backbone, directory / "student.safetensors")
    keep_networks(directory, {"student": student}, prepared.source, {"student": SCORES}, None)
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.fixture
def run(kept: dict[str, bytes], tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    for name, content in kept.items():
        (directory / name).write_bytes(content)
    return directory


def change(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **changes}))


def commands(run: Path, *more: str) -> dict[str, Callable[[], Any]]:
    image = run / "image.npy"
    np.save(image, np.zeros((8, 8), np.uint8))
    return {
        "evaluate": lambda: evaluate_run(composed("evaluate", f"run={run}", "trainer=cpu", *more)),
        "export": lambda: export_run(composed("export", f"run={run}", "format=safetensors", *more)),
        "predict": lambda: predict_files(composed("predict", f"run={run}", f"input={image}", "trainer=cpu", *more)),
    }


@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_a_networks_strange_code_is_refused(command: str, run: Path) -> None:
    change(run / "student.json", network={"_target_": "os.mkdir", "path": str(run / "made")})
    with pytest.raises(SettingError, match=r"student\._target_=os\.mkdir: is not run, for it comes from run="):
        commands(run)[command]()
    assert not (run / "made").exists()


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_tasks_strange_code_is_refused(command: str, run: Path) -> None:
    change(run / "student.json", task={"_target_": "os.getcwd"})
    if command == "evaluate":  # asks the data's own task, unless the data is other than the run's
        commands(run)[command]()
        return
    with pytest.raises(SettingError, match=r"task\._target_=os\.getcwd: is not run"):
        commands(run)[command]()


def test_strange_data_is_refused(run: Path) -> None:
    config = OmegaConf.load(run / "config.yaml")
    config.data._target_ = "os.getcwd"
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(SettingError, match=r"data\._target_=os\.getcwd: is not run"):
        commands(run)["evaluate"]()


def test_a_run_that_goes_on_is_looked_at_and_what_the_command_says_too_is_trusted(run: Path) -> None:
    given = ("model@student=custom", "student.target=stranger.Net")
    save_config(composed("train", *given), run)
    said = [f"resume={run}"]
    with pytest.raises(SettingError, match=r"student\.target=stranger\.Net: is not run.*add trust=stranger$"):
        resumed(composed("train", *said), run, said)
    for trusted in (["trust=stranger"], ["trust=[other,stranger]"], list(given)):
        assert resumed(composed("train", *said, *trusted), run, said)[0].student.target == "stranger.Net"


def test_the_configs_of_a_run_are_looked_at_before_hydra_reads_them(run: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write("hydra: {callbacks: {x: {_target_: os.mkdir, path: made}}}\n")
    arguments = ["--config-dir", str(run), "--config-name", "config"]
    check_named_configs(["--config-dir", str(CONFIGS)])
    for said in (arguments, [f"--config-dir={run}"]):
        with pytest.raises(SettingError, match=r"hydra\.callbacks\.x\._target_=os\.mkdir: is not run"):
            check_named_configs(said)
    check_named_configs([*arguments, "trust=[os,other]"])


def test_weights_out_of_the_directory_and_images_that_no_memory_holds_are_refused(run: Path) -> None:
    change(run / "student.json", weights="../student.safetensors")
    with pytest.raises(SettingError, match=r"weights=\.\./student\.safetensors: must be a file in the run's directory"):
        load_run(run)
    change(run / "student.json", weights="student.safetensors", images={"channels": 1, "height": 10**9, "width": 10**9})
    with pytest.raises(SettingError, match=r"student\.json: is damaged \(images of .* have no size that memory holds"):
        load_run(run)


def test_arrays_that_claim_more_than_they_have_are_refused(images: Path, tmp_path: Path) -> None:
    content = zipfile.ZipFile(images)
    huge = tmp_path / "huge.npz"
    with zipfile.ZipFile(huge, "w") as archive:
        for name in content.namelist():
            claims = content.read(name).replace(b"(64, 8, 8), }" + b" " * 8, b"(9999999999, 8, 8), }")
            archive.writestr(name, claims)
    with pytest.raises(SettingError, match="cannot be read as arrays"):
        arrays(path=str(huge))


def test_no_file_is_read_with_pickles_allowed() -> None:
    root = Path(pipeline.__file__).parents[1]
    for file in (*root.rglob("*.py"), *(root.parent / "scripts").rglob("*.py")):
        text = file.read_text()
        for call in re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call, f"{file}: {call}"
        for allowed in ("weights_only=False", "allow_pickle=True", "trust_remote_code=True"):
            assert allowed not in text, file


def test_a_file_of_weights_that_unfolds_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w", 8) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(SettingError, match=r"bomb\.pt: cannot be read \(it claims .* and has"):
        read_weights(tmp_path / "bomb.pt")
    assert "claims" in str(damage(tmp_path / "bomb.pt"))
    assert damage(tmp_path / "plain.pt") is None


# -------------------------------------------------------------------------------------- files that are broken at random


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with a few bytes changed, a part missing, or another one in it twice."""
    changed = bytearray(content)
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)):
        changed[place] = value
    start, end = sorted(draw(st.tuples(st.integers(0, len(content)), st.integers(0, len(content)))))
    how = draw(st.sampled_from(["as it is", "cut", "without a part", "with a part twice"]))
    if how == "cut":
        return bytes(changed[:end])
    if how == "without a part":
        return bytes(changed[:start] + changed[end:])
    return bytes(changed[:end] + changed[start:]) if how == "with a part twice" else bytes(changed)


def written(directory: Path) -> dict[str, Callable[[Path], bytes]]:
    """How a sample of each kind of file is made."""

    def of(write: Callable[[Path], object]) -> Callable[[Path], bytes]:
        def read(name: Path) -> bytes:
            write(directory / name)
            return (directory / name).read_bytes()

        return read

    state = {"a": torch.arange(6.0).reshape(2, 3), "b": {"c": torch.ones(2)}}
    labels = np.arange(8) % 2
    pixels = np.zeros((8, 4, 4), np.uint8)
    return {
        "weights.pt": of(lambda file: torch.save(state, file)),
        "old.pt": of(lambda file: torch.save(state, file, _use_new_zipfile_serialization=False)),
        "weights.safetensors": of(lambda file: save_weights(torch.nn.Linear(2, 3), file, {"distill": "{}"})),
        "arrays.npz": of(
            lambda file: np.savez(file, train_images=pixels, train_labels=labels, val_images=pixels, val_labels=labels)
        ),
    }


def read_checkpoint(file: Path) -> None:
    newest_whole(file)


def read_arrays(file: Path) -> None:
    arrays(path=str(file))


def read_file_of_weights(file: Path) -> None:
    read_weights(file)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("weights.pt", read_file_of_weights),
        ("old.pt", read_file_of_weights),
        ("weights.safetensors", read_file_of_weights),
        ("weights.pt", read_checkpoint),
        ("arrays.npz", read_arrays),
    ],
)
def test_broken_binary_files_are_read_or_refused_in_one_line(
    name: str, read: Callable[[Path], None], tmp_path: Path
) -> None:
    content = written(tmp_path)[name](Path(name))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(broken(content))
    def check(changed: bytes) -> None:
        file = tmp_path / name
        file.write_bytes(changed)
        read_or_refused(lambda: read(file))

    check()


def read_or_refused(read: Callable[[], Any]) -> None:
    """What cannot be read is what a command tells in one line."""
    try:
        read()
    except Exception as error:
        line = mistake(error)
        if line is None or "\n" in line:
            raise


@pytest.mark.parametrize("name", ["config.yaml", "student.json"])
def test_broken_texts_of_a_run_are_read_or_refused_in_one_line(name: str, kept: dict[str, bytes]) -> None:
    config = OmegaConf.create(kept["config.yaml"].decode())
    brief = OmegaConf.to_yaml(OmegaConf.masked_copy(config, ["data", "trainer", "seed", "working_directory"])).encode()
    sample = brief if name == "config.yaml" else kept[name]

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(broken(sample))
    def check(changed: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place)
            for other, content in kept.items():
                (run / other).write_bytes(changed if other == name else content)
            read_or_refused(lambda: load_config(run, "run"))
            read_or_refused(lambda: load_run(run))

    check()


def test_a_broken_manifest_of_a_cache_is_no_cache(tmp_path: Path) -> None:
    fields = {"train": [{"name": "logits", "dtype": "float32", "shape": [10]}]}
    manifest = json.dumps({"key": "0123", "asked": {}, "fields": fields, "rows": {"train": 3}}).encode()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(broken(manifest))
    def check(changed: bytes) -> None:
        cache = tmp_path / "cache/0123"
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "manifest.json").write_bytes(changed)
        assert all(store.directory == cache for store in stores(tmp_path / "cache"))

    check()


@pytest.mark.parametrize(
    "change", [{"key": "../../home"}, {"fields": {"train": [{"name": "a", "dtype": "O", "shape": []}]}}]
)
def test_a_manifest_that_leads_elsewhere_or_holds_objects_is_no_cache(change: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "0123"
    cache.mkdir()
    content = {"key": "0123", "asked": {}, "fields": {}, "rows": {}}
    (cache / "manifest.json").write_text(json.dumps(content))
    assert len(stores(tmp_path)) == 1
    (cache / "manifest.json").write_text(json.dumps({**content, **change}))
    assert stores(tmp_path) == []


def test_settings_that_unfold_to_more_than_memory_holds_are_refused(run: Path) -> None:
    doubled = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    (run / "config.yaml").write_text("a0: &a0 [1]\n" + doubled)
    with pytest.raises(SettingError, match=r"config\.yaml: has YAML aliases"):
        load_run(run)
