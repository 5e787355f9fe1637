"""Reads options of configs/ that the command line names in a list."""

from typing import cast

from omegaconf import DictConfig, OmegaConf

from distill.errors import SettingError, suggestion
from distill.files import CONFIGS


def option(group: str, name: str, where: str) -> DictConfig:
    """What configs/GROUP/NAME.yaml sets; where: the setting that names it.

    Raises:
        SettingError: there is no such file.
    """
    file = CONFIGS / group / f"{name}.yaml"
    if not file.is_file():
        known = [other.stem for other in file.parent.glob("*.yaml")]
        raise SettingError(f"{where}: {name!r} is no file of configs/{group}/{suggestion(name, known)}")
    return cast(DictConfig, OmegaConf.load(file))
