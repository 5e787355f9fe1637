"""Features that a cache keeps as means over positions, and the methods that can do with them."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import DistillModule, Network, methods
from distill.data import ImageSource, Split
from distill.errors import SettingError
from distill.methods import AT, KD, SP, Composite, Method
from distill.models.cnn import cnn
from distill.teachers import CachedTeacher, LiveTeacher, Teacher, TeacherInputs
from distill.teachers.record import averaged
from distill.types import Batch, Outputs

COUNT = 24
PIXELS = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(COUNT) % 4
SOURCE = ImageSource("noise", Split(PIXELS, TARGETS), Split(PIXELS, TARGETS), [str(number) for number in range(4)])
BATCH = Batch(PIXELS[3:19].float() / 255, TARGETS[3:19], torch.arange(3, 19))

CLASSES = {name: item for name, item in vars(methods).items() if inspect.isclass(item) and issubclass(item, Method)}
SERVED = {name: item for name, item in CLASSES.items() if item.accepts_pooled}
OTHERS = [n for n, c in CLASSES.items() if c not in (Method, Composite, *SERVED.values()) and c().taps.teacher]


def network(width: int = 8) -> Network:
    torch.manual_seed(1)
    return Network(cnn(num_classes=4, in_channels=1, width=width))


def cached(directory: Path, features: bool | str = "pooled") -> CachedTeacher:
    inputs = TeacherInputs(SOURCE, torch.arange(COUNT), batch_size=8)
    return CachedTeacher(network(), inputs, dir=str(directory), features=features)  # type: ignore[arg-type]


def terms(teacher: Teacher, method: Method) -> dict[str, torch.Tensor]:
    """What a method says of one batch; all that it draws is drawn alike for any teacher."""
    torch.manual_seed(2)
    module = DistillModule(network(4), teacher, method, example=BATCH.inputs, labels=TARGETS)
    torch.manual_seed(3)
    found: dict[str, torch.Tensor] = module.method(
        module.student(BATCH.inputs), teacher(replace(BATCH, split="train")), BATCH
    )
    return found


class Averaging(LiveTeacher):
    """A network whose maps are averaged by hand."""

    def predict(self, batch: Batch) -> Outputs:
        outputs = super().predict(batch)
        return Outputs(outputs.logits, {name: map.mean((2, 3)) for name, map in outputs.features.items()})


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_averages_are_over_all_positions(shape: list[int], seed: int) -> None:
    feature = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = averaged(feature)
    if len(shape) == 2:
        assert torch.equal(found, feature)
    elif len(shape) == 3:  # tokens
        assert torch.allclose(found, sum(feature[:, token] for token in range(shape[1])) / shape[1], rtol=1e-12)
    else:
        flat = feature.reshape(shape[0], shape[1], -1)
        mean = sum(flat[:, :, place] for place in range(flat.shape[2])) / flat.shape[2]
        assert torch.allclose(found, mean, rtol=1e-12)


def test_averages_of_half_precision_are_precise() -> None:
    ones = torch.cat([torch.full((1, 1, 1, 1), 256.0), torch.ones(1, 1, 1, 255)], dim=3).bfloat16()
    assert averaged(ones).item() == 511 / 256


@pytest.mark.parametrize("name", SERVED)
def test_a_method_is_given_the_averages(tmp_path: Path, name: str) -> None:
    def method() -> Method:
        return SERVED[name](student_layers=["last_stage"], teacher_layers=["last_stage"])

    by_hand = terms(Averaging(network()), method())
    for _ in range(2):  # one that fills, one that reads
        teacher = cached(tmp_path)
        teacher.check(method())
        found = terms(teacher, method())
        assert found.keys() == by_hand.keys()
        assert all(torch.allclose(found[term], by_hand[term], rtol=1e-5) for term in found)
    assert teacher.passes == 0
    assert teacher.layouts["train"].features == (("layer3", (32,)),)
    assert "layer3 averaged over positions" in teacher.describe()
    whole = terms(LiveTeacher(network()), method())
    alike = all(torch.allclose(found[term], whole[term], rtol=1e-5) for term in found)
    assert alike == (name == "SRRL")


def test_vectors_are_kept_as_they_are(tmp_path: Path) -> None:
    def method() -> Method:
        return SP(student_layers=["embedding"], teacher_layers=["embedding"])

    pooled, whole = cached(tmp_path), cached(tmp_path, True)
    assert torch.equal(terms(pooled, method())["sp"], terms(whole, method())["sp"])
    assert pooled.layouts["train"].features == whole.layouts["train"].features
    assert pooled.wanted_bytes == whole.wanted_bytes


def test_each_way_of_keeping_has_a_cache_of_its_own(tmp_path: Path) -> None:
    keys = set()
    for features in (False, True, "pooled"):
        teacher = cached(tmp_path, features)
        terms(teacher, KD() if features is False else SP())
        keys.add(teacher.open().store.directory.name)
    assert len(keys) == 3


@pytest.mark.parametrize("name", OTHERS)
def test_methods_that_need_positions_are_refused(tmp_path: Path, name: str) -> None:
    method = CLASSES[name]()
    message = rf"teaching.features=pooled: {name} takes layers .*teaching.features=true, or use teaching=live"
    with pytest.raises(SettingError, match=message):
        cached(tmp_path).check(method)
    cached(tmp_path, True).check(method)
    assert not list(tmp_path.iterdir())


def test_each_member_of_several_methods_is_looked_at(tmp_path: Path) -> None:
    cached(tmp_path).check(Composite({"kd": KD(), "sp": SP()}))
    with pytest.raises(SettingError, match=r"teaching.features=pooled: AT takes layers"):
        cached(tmp_path).check(Composite({"kd": KD(), "sp": SP(), "at": AT()}))


def test_other_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features='mean': must be true, false or pooled"):
        cached(tmp_path, "mean")


def test_the_documentation_names_the_methods() -> None:
    text = (Path(__file__).parents[2] / "docs" / "caching.md").read_text()
    named = re.search(r"Methods that take `features=pooled`: ([^;]*);", text)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == {name.lower() for name in SERVED}
