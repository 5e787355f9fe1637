"""Code that settings out of a file may name."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from distill.config.trust import check_trusted, names, targets
from distill.errors import SettingError
from distill.files import CONFIGS

STRANGE = [
    "os.system",
    "builtins.exec",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "torch.nn.modules.module.torch.load",  # out of a known package by way of what it imports
    "distill.models.custom.importlib.import_module",
    "distill.models.weights_file.save_weights",  # writes a file, and gives nothing
    "distill.files.write_text",
    "distill.models.exported.exported",  # reads pickles
    "pytorch_lightning.cli.LightningCLI",
    "torch.nn.no_such_name",
    "my_package.nets.Net",
]


@pytest.mark.parametrize("target", STRANGE)
def test_code_that_is_not_known_is_refused_with_the_way_to_trust_it(target: str) -> None:
    settings = {"student": {"deep": [{"_target_": target, "width": 3}]}}
    with pytest.raises(SettingError, match=rf"^student\.deep\[0\]\._target_={target}: is not run, .*trust=") as caught:
        check_trusted(settings, "", "run=mine", ())
    advised = str(caught.value).rpartition("trust=")[2]
    check_trusted(settings, "", "run=mine", names(advised))


def test_it_is_told_whether_code_is_the_users_own() -> None:
    assert check_trusted({"_target_": "mine.Net"}, "", "run=mine", ["mine"])
    assert not check_trusted({"_target_": "torch.nn.Linear"}, "", "run=mine", ["mine"])


def test_nothing_is_imported_for_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError):
        check_trusted({"target": "stranger.Net"}, "student", "run=mine", ())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": "${oc.env:HOME}"},
        {"_target_": 3},
        {"_target_": "torch.nn.Linear", "_args_": [1, 2]},
        {"_target_": "transformers.AutoModel.from_pretrained", "trust_remote_code": True},
        {"target": "os.system('true')"},
    ],
)
def test_what_cannot_be_looked_up_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"^student\.(_target_|_args_|trust_remote_code|target)="):
        check_trusted(settings, "student", "run=mine", ())


def test_all_that_the_configs_name_is_known_but_programs_that_may_hold_pickles() -> None:
    refused = set()
    for file in CONFIGS.glob("*/*.yaml"):
        if file.parent.name == "hydra":
            continue
        settings = OmegaConf.to_container(OmegaConf.load(file))
        for target in targets(settings) - {"???"}:
            try:
                assert not check_trusted({"_target_": target}, "", "a file", ())
            except SettingError:
                refused.add(target)
    assert refused == {"distill.models.exported.exported"}


@pytest.mark.parametrize(
    "target", ["torch.nn.Linear", "torch.optim.swa_utils.AveragedModel", "torchvision.models.resnet18"]
)
def test_networks_of_known_packages_are_taken(target: str) -> None:
    assert not check_trusted({"_target_": target}, "", "a file", ())


@pytest.mark.parametrize("trust", [3, True, "my-package", ["a", 1], "/home/me/code"])
def test_trust_is_told_by_names_of_packages(trust: Any) -> None:
    with pytest.raises(SettingError, match=r"^trust=.*: must be the name of a package"):
        names(trust)


def test_other_settings_called_target_are_no_code() -> None:
    assert not check_trusted({"log_target": "os.system", "target": "masks"}, "", "a file", ())
