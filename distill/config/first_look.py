"""What is told of a configuration before Lightning and torchvision are imported, which takes seconds."""

from omegaconf import DictConfig

from distill.config import parts
from distill.config.recipe import recipe
from distill.config.run_config import check_names, parse


def check(config: DictConfig) -> None:
    """Read all settings of a new run that need neither data nor networks.

    Raises:
        SettingError: one is unknown, missing, of a wrong type or impossible.
    """
    check_names(config)
    read = parse(config)
    if read.run.show is None:  # which is asked to learn what a method's settings may name
        parts.method(read.method)
        for stage in ("student", "teacher"):
            recipe(read, stage)
