"""docs/own_method.md does what it says."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from distill import DistillModule, Network
from distill.config import build
from distill.methods import Composite, Method
from distill.models.cnn import cnn
from distill.types import Batch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_method.md").read_text()


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture(autouse=True)
def _the_users_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_methods.py").write_text(block("python"))
    (tmp_path / "my_configs" / "method").mkdir(parents=True)
    (tmp_path / "my_configs" / "method" / "cosine.yaml").write_text(block("yaml"))
    monkeypatch.syspath_prepend(tmp_path)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", list(overrides))


def terms(method: Method) -> set[str]:
    """What a step in its company gives, its gradients checked."""
    torch.manual_seed(0)
    images = torch.rand(8, 1, 8, 8)
    networks = [Network(cnn(num_classes=10, in_channels=1, width=width)) for width in (2, 4)]
    module = DistillModule(*networks, method, example=images)
    assert module.teacher is not None
    batch = Batch(images, torch.arange(8))
    given: dict[str, torch.Tensor] = module.method(module.student(images), module.teacher(batch), batch)
    torch.stack(list(given.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    return set(given)


def test_by_its_dotted_path() -> None:
    overrides = [word for word in shlex.split(block("bash")) if re.match(r"\+?method", word)]
    method = build.method(composed(*overrides).method)
    assert isinstance(method, Composite)
    assert [type(member).__name__ for member in method.members] == ["KD", "Cosine"]
    assert method.members[1].weight == 2
    assert terms(method) == {"ce", "kd", "cosine"}


def test_alone_and_with_what_every_method_has() -> None:
    method = build.method(
        composed(
            "method=[]",
            "+method.mine._target_=my_methods.Cosine",
            "+method.mine.standardize_logits=true",
            "+method.mine.schedules={weight: {_target_: distill.schedules.Ramp, until: 0.5}}",
        ).method
    )
    assert type(method).__name__ == "Cosine"
    assert method.standardize_logits
    method.set_progress(0.25)
    assert method.weight == 0.5
    assert terms(method) == {"ce", "cosine"}


def test_by_a_file_of_ones_own(tmp_path: Path) -> None:
    config = composed(f"hydra.searchpath=[file://{tmp_path}/my_configs]", "method=[kd,cosine]")
    assert terms(build.method(config.method)) == {"ce", "kd", "cosine"}
