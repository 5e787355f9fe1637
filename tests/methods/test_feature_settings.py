"""Feature methods' settings: what is said of bad ones."""

from dataclasses import replace

import pytest
from feature_examples import NAMES, batch_of, example, prepared

import distill.methods as methods


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"SRRL", "SimKD", "SemCKD"}))
def test_unequal_numbers_of_layers_are_named(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"student_layers=\['layer1', 'layer3'\].*teacher_layers=\['layer3'\].*as many"
    ):
        prepared(name, example("maps"), student_layers=["layer1", "layer3"], teacher_layers=["layer3"]).compute_losses(
            example("maps").student, example("maps").teacher, batch_of(example("maps"))
        )


@pytest.mark.parametrize("name", ["SRRL", "SimKD"])
def test_one_layer_or_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="name one layer of each"):
        prepared(name, example("maps"), student_layers=["layer1", "layer3"])


@pytest.mark.parametrize("name", ["AT", "NST", "CWD", "FT"])
def test_an_embedding_has_no_positions_to_compare(name: str) -> None:
    given = example("maps")
    with pytest.raises(ValueError, match=rf"{name}: student_layers=\['pool'\].*positions"):
        prepared(name, given, student_layers=["embedding"], teacher_layers=["embedding"]).compute_losses(
            given.student, given.teacher, batch_of(given)
        )


@pytest.mark.parametrize("name", ["FSP", "KDSVD"])
def test_adjacent_layers_need_two(name: str) -> None:
    with pytest.raises(ValueError, match=r"student_layers=\['layer3'\]: name two layers or more"):
        prepared(name, example("maps"), student_layers="last_stage", teacher_layers="last_stage")


@pytest.mark.parametrize("name", ["SRRL", "SimKD"])
def test_no_classifier_no_method(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs the teacher's last linear layer.*teaching=live"):
        prepared(name, replace(example("maps"), classifier=None))


@pytest.mark.parametrize(("name", "layer"), [("SRRL", "layer2"), ("SimKD", "layer2"), ("SimKD", "layer3")])
def test_a_layer_that_the_classifier_does_not_see_is_refused(name: str, layer: str) -> None:
    given = example("maps")
    given.teacher.features["layer3"].add_(1.0)  # of the right width, and yet not what the logits came from
    with pytest.raises(ValueError, match="is not what its classifier sees"):
        prepared(name, given, teacher_layers=[layer])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("AT", {"power": 0.0}),
        ("AB", {"margin": -1.0}),
        ("FT", {"ratio": 0.0}),
        ("OFD", {"margin_momentum": 0.0}),
        ("VID", {"variance": 0.0}),
        ("KDSVD", {"rank": 0}),
        ("CWD", {"temperature": 0.0}),
        ("MGD", {"masked": 1.0}),
        ("MGD", {"mask": "rows"}),
        ("ReviewKD", {"max_channels": 0}),
        ("ReviewKD", {"warmup": 1.0}),
        ("SemCKD", {"group_size": 2}),
        ("SemCKD", {"softness": 0.0}),
        ("SimKD", {"factor": 0.0}),
    ],
)
def test_bad_settings_are_named(name: str, settings: dict[str, object]) -> None:
    ((setting, value),) = settings.items()
    with pytest.raises(ValueError, match=f"^{setting}={value!r}"):
        getattr(methods, name)(**settings)
