import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from distill.models.preprocessing import preprocessing_of
from distill.models.timm_models import timm_model

UNTRAINED = {"pretrained": False}  # the arguments that make the same layers without the weights


def expected_of(network: nn.Module) -> tuple[object, ...]:
    """Mean, standard deviation, size, and whether it is trained."""
    said = preprocessing_of(network)
    return said.mean, said.std, said.size, said.trained


def test_without_timm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r'pip install "distill\[timm\]"'):
        timm_model(name="resnet18", num_classes=7)


class TestWithTimm:
    @pytest.mark.parametrize("channels", [3, 1])
    def test_random_weights_for_any_number_of_classes_and_channels(self, channels: int) -> None:
        network = timm_model(name="mobilenetv3_small_050", num_classes=7, in_channels=channels).eval()
        assert network(torch.randn(2, channels, 64, 64)).shape == (2, 7)
        assert expected_of(network) == (None, None, None, False)
        published = preprocessing_of(network).of_weights
        assert published is not None
        assert (published.size, published.channels) == (224, channels)
        assert published.mean is not None
        assert len(published.mean) == channels
        assert published.classes is not None
        assert published.classes[:2] == ("tench", "goldfish")

    @pytest.mark.parametrize("size", [224, 32])
    def test_a_vision_transformer_asks_for_its_only_size(self, size: int) -> None:
        arguments = {"depth": 1} if size == 224 else {"depth": 1, "img_size": 32, "patch_size": 4}
        network = timm_model(name="vit_tiny_patch16_224", arguments=arguments, num_classes=7)
        assert expected_of(network) == (None, None, size, False)
        assert network(torch.randn(2, 3, size, size)).shape == (2, 7)

    @pytest.mark.parametrize("classes", [1000, 7])
    @pytest.mark.parametrize("channels", [3, 1])
    def test_pretrained_weights_bring_their_own_normalisation_and_size(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, classes: int, channels: int
    ) -> None:
        original = timm.create_model("mobilenetv3_small_050")
        torch.save(original.state_dict(), tmp_path / "weights.pth")
        overlay = {"file": str(tmp_path / "weights.pth"), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
        network = timm_model(
            name="mobilenetv3_small_050.lamb_in1k",
            pretrained=True,
            arguments={"pretrained_cfg_overlay": overlay},
            num_classes=classes,
            in_channels=channels,
        ).eval()
        assert torch.equal(network.get_parameter("conv_head.weight"), original.get_parameter("conv_head.weight"))
        assert network(torch.randn(2, channels, 64, 64)).shape == (2, classes)
        mean, std = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)) if channels == 3 else ((0.4,), (0.2,))
        expected = (pytest.approx(mean), pytest.approx(std), 224, classes == 1000)
        assert expected_of(network) == expected
        assert ("know 1000 classes, the data has 7" in caplog.text) is (classes == 7)

    def test_weights_that_cannot_be_had_say_what_to_do_instead(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"pretrained=True.*gone\.pth.*checkpoint=FILE"):
            timm_model(
                name="mobilenetv3_small_050",
                pretrained=True,
                arguments={"pretrained_cfg_overlay": {"file": str(tmp_path / "gone.pth")}},
                num_classes=7,
            )

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"name": "resnet19"}, "name='resnet19': timm has no such model; did you mean resnet"),
            ({"name": "zzz"}, "name='zzz': timm has no such model.*list_models"),
            (
                {"name": "resnet18.mine"},
                "name='resnet18.mine': timm has no weights 'mine' of it; it has resnet18.a1_in1k",
            ),
            ({"name": "resnet18", "arguments": {"colour": 3}}, "arguments={'colour': 3}: resnet18 does not take them"),
        ],
    )
    def test_bad_settings_are_named(self, settings: dict[str, object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            timm_model(num_classes=7, **settings)  # type: ignore[arg-type]

    def test_a_model_without_weights_cannot_be_pretrained(self) -> None:
        import timm

        bare = next(
            n for n in timm.list_models() if not timm.list_pretrained(f"{n}.*") and not timm.is_model_pretrained(n)
        )
        with pytest.raises(ValueError, match=f"pretrained=true: timm has no weights of {bare}"):
            timm_model(name=bare, pretrained=True, num_classes=7)
