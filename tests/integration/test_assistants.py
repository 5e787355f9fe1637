"""A run with stages between teacher and student."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors.torch import load_file

from distill.config.run_config import parse
from distill.errors import SettingError
from distill.experiment import pipeline, preflight
from distill.experiment.finished import load_run

CONFIGS = Path(__file__).parents[2] / "configs"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
]


def composed(*overrides: str) -> DictConfig:
    fixed = ["trainer=cpu", "trainer.max_epochs=1", "teacher.max_epochs=1", "baseline=false", "logger=none"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [*fixed, "data.student_fraction=0.2", *overrides])


def test_each_is_taught_by_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[str] = []
    build_teacher = pipeline.build.teacher

    def spy(config: DictConfig, network: pipeline.Network, inputs: object, **settings: object) -> object:
        taught.append(network.name)
        return build_teacher(config, network, inputs, **settings)

    # SimKD, because what it deploys is not the network that was built.
    config = composed("chain=[resnet8]", "generations=2", "method=simkd")
    run = pipeline.prepare(parse(config), tmp_path)
    assert run.assistants == ["assistant1", "generation1"]
    monkeypatch.setattr(pipeline.build, "teacher", spy)
    pipeline.save_config(config, tmp_path)
    monkeypatch.setattr(pipeline, "write_report", lambda results, *_: (tmp_path / "stages").write_text(
        json.dumps({name: results.validation.score(name) for name in results.stages})))  # fmt: skip
    pipeline.run_stages(run, run.networks(), 0.0)
    assert taught == ["cnn24", "resnet8", "cnn4"]
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("generation1", "student"))
    assert first.keys() == second.keys()
    assert not all(torch.equal(first[name], second[name]) for name in first)

    monkeypatch.undo()
    finished = load_run(tmp_path)
    assert set(finished.networks()) == {"teacher", "student"}
    loaded = finished.network("student").backbone.state_dict()
    assert all(torch.equal(loaded[name], second[name]) for name in second)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="chain: 'resnet5' is no file of configs/model/; did you mean resnet56"):
        preflight.check_networks(pipeline.prepare(parse(composed("chain=[resnet5]")), tmp_path))
    with pytest.raises(SettingError, match="generations=0: must be 1 or more"):
        parse(composed("generations=0"))


@pytest.mark.parametrize("layers", ["stages", "layer2"])
def test_the_moving_average_passes_the_preflight(tmp_path: Path, layers: str) -> None:
    chosen = [f"method.at.{side}_layers=[{layers}]" for side in ("student", "teacher")]
    config = composed("teaching=ema", "method=at", *chosen, "preflight=only")
    assert pipeline.run(config, tmp_path) is None
