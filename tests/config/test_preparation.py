"""How networks of a run are shown the data: images as they want them, tokens as they are."""

import pytest
import torch

from distill.config.preparation import check_augment, preparation, statistics_of
from distill.config.settings import DataSettings, NetworkSettings
from distill.data import Augment
from distill.data.token_source import TokenSource
from distill.data.tokens import Tokens
from distill.errors import SettingError
from distill.models.preprocessing import Preprocessing

SPLIT = Tokens({"input_ids": torch.arange(4)}, torch.tensor([0, 2, 4]), torch.tensor([0, 1]))
TEXTS = TokenSource("reviews", SPLIT, SPLIT, ["a", "b"])
NOTHING = Preprocessing()


def settings(**changed: object) -> DataSettings:
    return DataSettings(batch_size=2, student_fraction=1.0, augment={}, **changed)  # type: ignore[arg-type]


def test_tokens_are_shown_as_they_are() -> None:
    assert statistics_of(TEXTS, settings()) is None
    check_augment(Augment(), TEXTS)
    shown, words = preparation("student", NetworkSettings(), NOTHING, NOTHING, TEXTS, None)
    assert words == ""
    inputs = SPLIT.inputs(torch.arange(2))
    assert shown(inputs) is inputs


def test_settings_of_images_are_refused_for_texts() -> None:
    with pytest.raises(SettingError, match=r"^data.mean=\[0.5\]: is for images, and reviews has texts"):
        statistics_of(TEXTS, settings(mean=[0.5], std=[0.5]))
    with pytest.raises(SettingError, match=r"^data.augment: is for images, and reviews has texts"):
        check_augment(Augment(flip=True), TEXTS)
    with pytest.raises(SettingError, match=r"^student.size=32: is for images, and reviews has texts"):
        preparation("student", NetworkSettings(size=32), NOTHING, NOTHING, TEXTS, None)
