"""The framework's own settings: types, ranges, and what is left for the target."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from distill.config.nodes import read, without
from distill.config.settings import DataSettings, MethodSettings, NetworkSettings, RunSettings, TrainerSettings
from distill.errors import SettingError

DATA: dict[str, Any] = {"batch_size": 32, "student_fraction": 0.25, "augment": {}}


def test_own_keys_are_read_and_others_left() -> None:
    config = OmegaConf.create({"_target_": "x.y", "path": "${where}", "where": "here", **DATA})
    assert read(config, "data", DataSettings) == DataSettings(**DATA)
    assert OmegaConf.to_container(without(config, DataSettings), resolve=False) == {
        "_target_": "x.y", "path": "${where}", "where": "here",
    }  # fmt: skip


def test_interpolations_reach_beyond_the_node() -> None:
    config = OmegaConf.create({"seed": 4, "trainer": {"max_epochs": "${seed}"}})
    assert read(config.trainer, "trainer", TrainerSettings).max_epochs == 4


@pytest.mark.parametrize(
    ("cls", "where", "values", "line"),
    [
        (RunSettings, "", {"seed": -1}, "seed=-1: must be zero or more"),
        (RunSettings, "", {"seed": "one"}, "seed='one': must be a whole number"),
        (RunSettings, "", {"seed": 1.5}, "seed=1.5: must be a whole number"),
        (RunSettings, "", {"baseline": "perhaps"}, "baseline='perhaps': must be true or false"),
        (RunSettings, "", {"resume": 3}, "resume=3: must be text or null; quotes make it one: 'resume=\"3\"'"),
        (DataSettings, "data", {**DATA, "batch_size": 0}, "data.batch_size=0: must be 1 or more"),
        (DataSettings, "data", {**DATA, "batch_size": "big"}, "data.batch_size='big': must be a whole number"),
        (
            DataSettings, "data", {**DATA, "student_fraction": 0.0},
            "data.student_fraction=0.0: must be above 0 and at most 1",
        ),
        (
            DataSettings, "data", {**DATA, "student_fraction": 1.5},
            "data.student_fraction=1.5: must be above 0 and at most 1",
        ),
        (DataSettings, "data", {**DATA, "mean": ["a"]}, "data.mean=['a']: must be a list of numbers or null"),
        (
            NetworkSettings, "teacher", {"max_epochs": -1},
            "teacher.max_epochs=-1: must be 1 or more, or 0 to use the network as it is",
        ),
        (NetworkSettings, "student", {"size": 0}, "student.size=0: must be 1 or more"),
        (NetworkSettings, "student", {"checkpoint": 3},
         "student.checkpoint=3: must be text or null; quotes make it one: 'student.checkpoint=\"3\"'"),
        (MethodSettings, "method.kd", {"standardize_logits": 2},
         "method.kd.standardize_logits=2: must be true or false"),
        (TrainerSettings, "trainer", {"max_epochs": 0}, "trainer.max_epochs=0: must be 1 or more"),
        (TrainerSettings, "trainer", {"progress": "no"}, "trainer.progress='no': must be one of true, false, auto"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(cls: type, where: str, values: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(OmegaConf.create(values), where, cls)
    assert str(caught.value) == line
