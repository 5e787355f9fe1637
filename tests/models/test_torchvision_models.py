import logging
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from distill.models.preprocessing import preprocessing_of
from distill.models.torchvision_models import torchvision_model

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def expected_of(network: nn.Module) -> tuple[object, ...]:
    """Mean, standard deviation, size, and whether it is trained."""
    said = preprocessing_of(network)
    return said.mean, said.std, said.size, said.trained


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, nn.Module]:
    """Put weights where torchvision keeps its downloads, so that none is needed; return the networks they are of."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    networks = {}
    for name in ("resnet18", "squeezenet1_1"):
        torch.manual_seed(0)
        networks[name] = torchvision.models.get_model(name)
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        torch.save(networks[name].state_dict(), folder / url.rpartition("/")[2])
    return networks


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("channels", [3, 1])
def test_random_weights_for_any_number_of_classes_and_channels(name: str, channels: int) -> None:
    network = torchvision_model(name=name, num_classes=7, in_channels=channels).eval()
    assert network(torch.randn(2, channels, 64, 64)).shape == (2, 7)
    assert expected_of(network) == (None, None, None, False)


def test_an_inception_answers_with_logits_alone_in_training_too() -> None:
    network = torchvision_model(name="googlenet", num_classes=7)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    published = preprocessing_of(network).of_weights
    assert published is not None
    assert (published.mean, published.std) == ((0.5,) * 3, (0.5,) * 3)  # what transform_input would make of ImageNet's


def test_without_weights_it_says_what_a_file_of_published_ones_would_expect() -> None:
    published = preprocessing_of(torchvision_model(name="efficientnet_b1", num_classes=7)).of_weights
    assert published is not None
    assert (published.mean, published.std, published.size) == (*IMAGENET, 240)
    assert published.classes is not None
    assert len(published.classes) == 1000


@pytest.mark.parametrize("own_head", [False, True])
def test_weights_keep_their_own_classes_where_that_is_asked_for(
    downloaded: dict[str, nn.Module], own_head: bool
) -> None:
    network = torchvision_model(name="resnet18", weights="DEFAULT", num_classes=7, own_head=own_head).eval()
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 1000 if own_head else 7)
    assert preprocessing_of(network).trained is own_head


@pytest.mark.parametrize("size", [224, 32])
def test_a_vision_transformer_asks_for_its_only_size(size: int) -> None:
    arguments = {} if size == 224 else {"image_size": 32}
    assert preprocessing_of(torchvision_model(name="vit_b_32", arguments=arguments, num_classes=7)).size == size


def test_weights_keep_their_head_normalisation_and_size(
    downloaded: dict[str, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    network = torchvision_model(name="resnet18", weights="DEFAULT", num_classes=1000)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(network.eval()(x), downloaded["resnet18"].eval()(x))
    assert expected_of(network) == (*IMAGENET, 224, True)
    assert caplog.records == []


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("squeezenet1_1", "classifier.1")])
def test_another_class_count_gets_a_fresh_head_and_a_warning(
    downloaded: dict[str, nn.Module], caplog: pytest.LogCaptureFixture, name: str, head: str
) -> None:
    network = torchvision_model(name=name, weights="IMAGENET1K_V1", num_classes=7)
    assert network.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    original = downloaded[name].state_dict()
    changed = {k for k, t in network.state_dict().items() if not torch.equal(t, original[k])}
    assert changed == {f"{head}.weight", f"{head}.bias"}
    assert not preprocessing_of(network).trained
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"know 1000 classes, the data has 7: the head {head} starts" in record.getMessage()


def test_grey_images_are_seen_as_their_colour_copies(
    downloaded: dict[str, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    network = torchvision_model(
        name="resnet18", weights="ResNet18_Weights.IMAGENET1K_V1", num_classes=1000, in_channels=1
    ).eval()
    grey = torch.randn(2, 1, 64, 64)
    expected = downloaded["resnet18"].eval()(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(network(grey), expected, rtol=1e-3, atol=1e-4)
    mean, std = (pytest.approx(0.449),), (pytest.approx(0.226),)
    assert expected_of(network) == (mean, std, 224, True)
    assert "conv1 was averaged" in caplog.text


def test_a_failed_download_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(ValueError, match=r"weights='DEFAULT': downloading https.*no route to host.*checkpoint=FILE"):
        torchvision_model(name="resnet18", weights="DEFAULT", num_classes=7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "resnet19"}, "name='resnet19': .*did you mean resnet"),
        ({"name": "fasterrcnn_resnet50_fpn"}, "no such classifier"),
        ({"name": "resnet18", "weights": "IMAGENET"}, "weights='IMAGENET': resnet18 offers DEFAULT, IMAGENET1K_V1;"),
        ({"name": "resnet18", "arguments": {"colour": 3}}, "arguments={'colour': 3}: resnet18 does not take them"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        torchvision_model(num_classes=7, **settings)  # type: ignore[arg-type]
