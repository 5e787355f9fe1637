"""A network from its parts: whose normalisation, size, channels, classes and last layer it has."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from distill import DistillModule
from distill.config.networks import BackboneBuilder, assemble
from distill.config.settings import NetworkSettings
from distill.data.source import ImageSource
from distill.data.split import Split
from distill.errors import SettingError
from distill.experiment.preflight import check_network
from distill.models import imagenet
from distill.models.cnn import cnn
from distill.models.metadata import metadata, with_weights
from distill.models.network import Network
from distill.models.preprocess import LUMA
from distill.models.preprocessing import Preprocessing
from distill.models.taps import classifier
from distill.models.timm_models import timm_model
from distill.models.torchvision_models import torchvision_model
from distill.models.weights_file import read_metadata, save_weights

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
STATISTICS = {1: ([0.3], [0.2]), 3: ([0.3, 0.4, 0.5], [0.1, 0.2, 0.3])}


def data(names: list[str], channels: int = 3, size: int = 8) -> ImageSource:
    pixels = np.random.default_rng(0).integers(0, 256, (2 * len(names), channels, size, size)).astype(np.uint8)
    split = Split(torch.from_numpy(pixels), torch.arange(2 * len(names)) % len(names))
    return ImageSource("made up", split, split, names)


def settings(**given: Any) -> NetworkSettings:
    return NetworkSettings(**{"name": "net", **given})


def assembled(
    build: Any,
    source: ImageSource,
    where: str = "teacher",
    needs_logits: bool = True,
    tells: bool = True,
    **given: Any,
) -> Network:
    """A network of a builder that takes (num_classes, in_channels, own_head)."""
    maker = BackboneBuilder(lambda *asked: (build(*asked), {"_target_": "made.up"}), keeps_heads=tells, tells=tells)
    return assemble(maker, settings(**given), where, source, STATISTICS[source.channels], needs_logits=needs_logits)


def resnet(num_classes: int, in_channels: int, own_head: bool = False) -> nn.Module:
    return torchvision_model(name="resnet18", num_classes=num_classes, in_channels=in_channels, own_head=own_head)


def small(num_classes: int, in_channels: int, own_head: bool = False) -> nn.Module:
    return cnn(num_classes=num_classes, in_channels=in_channels, width=4)


def prepared(network: Network) -> tuple[list[float], list[float], int | None]:
    kept = network.preprocess.settings()
    return pytest.approx(kept["mean"]), pytest.approx(kept["std"]), kept["size"]  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------- normalisation and size


def test_weights_from_a_file_are_shown_what_the_networks_published_ones_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    torch.save(resnet(3, 3).state_dict(), tmp_path / "net.pt")
    source = data(["a", "b", "c"])
    network = assembled(resnet, source, checkpoint=str(tmp_path / "net.pt"))
    assert prepared(network) == (*IMAGENET, 224)
    assert network.trained
    assert (
        "mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 (its weights' configuration), at 224 x 224" in caplog.text
    )
    assert prepared(assembled(resnet, source)) == (*STATISTICS[3], None)


def test_what_is_set_wins_over_the_weights_configuration(tmp_path: Path) -> None:
    torch.save(resnet(3, 3).state_dict(), tmp_path / "net.pt")
    chosen = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "size": 16}
    network = assembled(resnet, data(["a", "b", "c"]), checkpoint=str(tmp_path / "net.pt"), **chosen)
    assert prepared(network) == (chosen["mean"], chosen["std"], 16)
    assert network.preparation.count("its settings") == 2


def test_a_file_of_timms_is_shown_what_timm_knows_of_it(tmp_path: Path) -> None:
    pytest.importorskip("timm")

    def build(num_classes: int, in_channels: int, own_head: bool) -> nn.Module:
        return timm_model(name="test_resnet", num_classes=num_classes, in_channels=in_channels, own_head=own_head)

    torch.save(build(3, 3, False).state_dict(), tmp_path / "net.pt")
    network = assembled(build, data(["a", "b", "c"]), checkpoint=str(tmp_path / "net.pt"))
    assert prepared(network) == ([0.5] * 3, [0.5] * 3, 160)


def test_weights_of_a_run_say_themselves_how_their_images_were_prepared(tmp_path: Path) -> None:
    """The file's own word wins over what the architecture's published weights expect."""
    source = data(["a", "b", "c"])
    trained = assembled(resnet, source)
    save_weights(trained.backbone, tmp_path / "teacher.safetensors", metadata(trained, source))
    other = data(["a", "b", "c"], size=16)
    network = assembled(resnet, other, checkpoint=str(tmp_path / "teacher.safetensors"), mean=None)
    assert prepared(network) == (*STATISTICS[3], 8)
    assert "the file of its weights" in network.preparation
    assert read_metadata(tmp_path / "teacher.safetensors")["name"] == "net"


def test_a_safetensors_file_from_elsewhere_is_shown_what_the_published_weights_were(tmp_path: Path) -> None:
    save_file(resnet(3, 3).state_dict(), tmp_path / "net.safetensors", {"format": "pt"})
    network = assembled(resnet, data(["a", "b", "c"]), checkpoint=str(tmp_path / "net.safetensors"))
    assert prepared(network) == (*IMAGENET, 224)


def test_a_file_of_a_run_that_says_nothing_was_trained_with_the_datas_statistics(tmp_path: Path) -> None:
    save_weights(resnet(3, 3), tmp_path / "net.safetensors", {"name": "resnet18"})
    network = assembled(resnet, data(["a", "b", "c"]), checkpoint=str(tmp_path / "net.safetensors"))
    assert prepared(network) == (*STATISTICS[3], None)


def test_further_teachers_of_an_ensemble_prepare_images_as_their_files_say(tmp_path: Path) -> None:
    source = data(["a", "b", "c"])
    first, second = assembled(small, source), assembled(small, source, mean=[0.9] * 3, std=[0.9] * 3)
    save_weights(second.backbone, tmp_path / "second.safetensors", metadata(second, source))
    assert prepared(with_weights(first, str(tmp_path / "second.safetensors"))) == ([0.9] * 3, [0.9] * 3, 8)
    assert prepared(first) == (*STATISTICS[3], None)


@pytest.mark.parametrize(
    "said", [Preprocessing((0.5,) * 3, (0.25,) * 3, 12), {"mean": [0.5] * 3, "std": [0.25] * 3, "size": 12}]
)
def test_a_network_of_the_users_says_by_an_attribute_what_it_expects(said: object) -> None:
    def build(*asked: Any) -> nn.Module:
        network = small(*asked)
        network.distill_preprocessing = said  # type: ignore[assignment]
        return network

    assert prepared(assembled(build, data(["a", "b", "c"]))) == ([0.5] * 3, [0.25] * 3, 12)


def test_an_attribute_that_cannot_be_meant_is_one_line() -> None:
    def build(*asked: Any) -> nn.Module:
        network = small(*asked)
        network.distill_preprocessing = {"average": 0.5}  # type: ignore[assignment]
        return network

    with pytest.raises(SettingError, match=r"distill_preprocessing=.*'average'.* some of mean, std, size"):
        assembled(build, data(["a", "b", "c"]))


# ----------------------------------------------------------------------------------------------------------- channels


def test_grey_images_are_shown_as_rgb_and_rgb_as_grey() -> None:
    grey = assembled(small, data(["a", "b"], channels=1), channels=3)
    shown = grey.preprocess(torch.full((1, 1, 2, 2), 0.5))
    torch.testing.assert_close(shown, torch.full((1, 3, 2, 2), (0.5 - 0.3) / 0.2))
    rgb = assembled(small, data(["a", "b"]), channels=1)
    image = torch.rand(2, 3, 4, 4)
    luma = sum(weight * image[:, place] for place, weight in enumerate(LUMA))
    mean, std = (sum(w * v for w, v in zip(LUMA, values, strict=True)) for values in STATISTICS[3])
    torch.testing.assert_close(rgb.preprocess(image), (luma[:, None] - mean) / std)
    assert "RGB images as grey" in rgb.preparation


def test_weights_of_a_run_know_their_channels(tmp_path: Path) -> None:
    source = data(["a", "b"])
    trained = assembled(small, source)
    save_weights(trained.backbone, tmp_path / "rgb.safetensors", metadata(trained, source))
    network = assembled(small, data(["a", "b"], channels=1), checkpoint=str(tmp_path / "rgb.safetensors"))
    assert network(torch.rand(2, 1, 8, 8)).logits.shape == (2, 2)
    assert network.preprocess.channels == 3


def test_a_file_for_other_channels_names_the_setting(tmp_path: Path) -> None:
    torch.save(small(2, 3).state_dict(), tmp_path / "net.pt")
    grey = data(["a", "b"], channels=1)
    with pytest.raises(SettingError, match=r"teacher\.checkpoint: .*3 channels.* 1; teacher\.channels=3"):
        assembled(small, grey, checkpoint=str(tmp_path / "net.pt"))
    assert assembled(small, grey, checkpoint=str(tmp_path / "net.pt"), channels=3).preprocess.channels == 3


def test_a_network_for_rgb_alone_names_the_setting() -> None:
    grey = data(["a", "b"], channels=1)
    network = assembled(lambda *_: small(2, 3), grey, where="student")
    with pytest.raises(SettingError, match=r"student: net cannot take .*\(1, 8, 8\).*student\.channels=3 shows"):
        check_network(network, "student", grey)


def test_only_grey_and_rgb_are_made_of_each_other() -> None:
    source, maker = data(["a", "b"], channels=4), BackboneBuilder(lambda *asked: (small(*asked), {}))
    with pytest.raises(SettingError, match=r"teacher\.channels=1: made up has 4"):
        assemble(maker, settings(channels=1), "teacher", source, ([0.5] * 4, [0.5] * 4))


# ---------------------------------------------------------------------------------------- classes and the last layer


@pytest.mark.parametrize("wanted", [["goldfish", "tench"], ["n01443537", "n01440764"], ["Goldfish", "n01440764"]])
def test_outputs_are_found_by_names_and_wordnet_ids(tmp_path: Path, wanted: list[str]) -> None:
    whole = resnet(1000, 3).eval()
    torch.save(whole.state_dict(), tmp_path / "net.pt")
    network = assembled(resnet, data(wanted), checkpoint=str(tmp_path / "net.pt"), size=32).eval()
    assert network.classes == (1, 0)
    image = torch.rand(2, 3, 32, 32)
    expected = whole(network.preprocess(image))[:, [1, 0]]
    torch.testing.assert_close(network(image).logits, expected)
    head = classifier(network, image)
    assert head is not None
    torch.testing.assert_close(head.weight, whole.fc.weight[[1, 0]])  # type: ignore[union-attr, index]


def test_weights_of_a_run_know_their_classes_in_whatever_order(tmp_path: Path) -> None:
    before = data(["cat", "dog", "owl"])
    trained = assembled(small, before)
    save_weights(trained.backbone, tmp_path / "net.safetensors", metadata(trained, before))
    where = str(tmp_path / "net.safetensors")
    assert assembled(small, data(["owl", "cat"]), checkpoint=where).classes == (2, 0)
    assert assembled(small, data(["owl", "dog", "cat"]), checkpoint=where).classes == (2, 1, 0)
    assert assembled(small, before, checkpoint=where).classes is None
    with pytest.raises(SettingError, match="has 3 outputs, and made up has 2 classes, whose names are not"):
        assembled(small, data(["0", "1"]), checkpoint=where)


@pytest.mark.parametrize("how", ["indices", "names", "file"])
def test_outputs_are_chosen(tmp_path: Path, how: str) -> None:
    torch.save(resnet(1000, 3).state_dict(), tmp_path / "net.pt")
    (tmp_path / "which.txt").write_text("tench, Tinca tinca\n\n217\nn03000684\n")
    chosen = {"indices": [0, 217, 491], "names": ["tench", 217, "chainsaw"], "file": str(tmp_path / "which.txt")}[how]
    file = str(tmp_path / "net.pt")
    network = assembled(resnet, data(["fish", "dog", "saw"]), checkpoint=file, size=32, classes=chosen)
    assert network.classes == (0, 217, 491)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([0, 1, 2], r"teacher\.classes: names 3 outputs, and the data has 2"),
        ([0, 1000], r"teacher\.classes: 1000 is no output of a network that has 1000, 0 to 999"),
        ([0, 0], r"teacher\.classes: 0 stands there twice"),
        (["tench", "goldfisch"], r"teacher\.classes: no output is called 'goldfisch'; did you mean goldfish\?"),
        (["n01443537", "tench"], r"teacher\.classes: are the data's in another order; the data's is tench, goldfish"),
        ("nowhere.txt", r"teacher\.classes=nowhere\.txt: no such file; give a file with an index"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_one_line(tmp_path: Path, chosen: Any, words: str) -> None:
    source = data(["tench", "goldfish"])
    with pytest.raises(SettingError, match=words):
        assembled(lambda *_: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000)), source,
                  classes=chosen, max_epochs=0)  # fmt: skip


def test_names_of_unknown_outputs_are_refused() -> None:
    with pytest.raises(SettingError, match="'cat' is a name, and what the network's 5 outputs are called is not known"):
        assembled(lambda *_: small(5, 3), data(["cat", "dog"]), classes=["cat", "dog"], max_epochs=0)


def test_other_classes_are_refused_with_all_that_would_work(tmp_path: Path) -> None:
    torch.save(small(5, 3).state_dict(), tmp_path / "net.pt")
    with pytest.raises(SettingError) as caught:
        assembled(small, data(["cat", "dog"]), checkpoint=str(tmp_path / "net.pt"))
    said = str(caught.value)
    assert all(way in said for way in ("5 outputs", "teacher.classes=", "teacher.head=new", "method=fitnet"))
    assert "\n" not in said


def test_other_classes_do_for_methods_of_features(tmp_path: Path) -> None:
    torch.save(small(5, 3).state_dict(), tmp_path / "net.pt")
    source = data(["cat", "dog"])
    network = assembled(small, source, checkpoint=str(tmp_path / "net.pt"), needs_logits=False)
    check_network(network, "teacher", source)
    assert not network.comparable
    assert network.trained


@pytest.mark.parametrize("where", ["teacher", "student"])
@pytest.mark.parametrize(("build", "path"), [(small, "head"), (resnet, "fc"), (lambda *_: small(5, 3), "head")])
def test_a_new_head_takes_the_place_of_that_in_the_file(tmp_path: Path, where: str, build: Any, path: str) -> None:
    whole = build(5, 3, False)
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "net.pt")
    source = data(["cat", "dog"], size=32)
    file = str(tmp_path / "net.pt")
    network = assembled(build, source, where, checkpoint=file, head="new", size=32).eval()
    assert network(torch.rand(2, 3, 32, 32)).logits.shape == (2, 2)
    assert not network.trained
    assert network.pretrained  # what lies before the head: it is fine-tuned gently
    ours, theirs = network.backbone.state_dict(), whole.state_dict()
    assert {name for name, value in theirs.items() if not torch.equal(ours[name], value)} == {
        f"{path}.weight", f"{path}.bias"
    }  # fmt: skip
    assert network.origin is not None
    assert network.origin.untrained["layer"] == path


def test_a_new_head_is_new_also_where_the_file_has_as_many_classes(tmp_path: Path) -> None:
    torch.save(small(2, 3).state_dict(), tmp_path / "net.pt")
    network = assembled(small, data(["cat", "dog"]), checkpoint=str(tmp_path / "net.pt"), head="new")
    assert not torch.equal(network.backbone.head.weight, torch.load(tmp_path / "net.pt")["head.weight"])


def test_a_students_file_for_other_classes_names_its_setting(tmp_path: Path) -> None:
    torch.save(small(5, 3).state_dict(), tmp_path / "net.pt")
    with pytest.raises(SettingError, match=r"student\.checkpoint: .*5 classes and the data has 2: student\.head=new"):
        assembled(small, data(["cat", "dog"]), "student", checkpoint=str(tmp_path / "net.pt"))


# ------------------------------------------------------------------------------------------------ several in one file


def test_a_choice_between_networks_of_a_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw, average = small(2, 3), small(2, 3)
    torch.save({"model": raw.state_dict(), "model_ema": average.state_dict()}, tmp_path / "net.pt")
    file, source = str(tmp_path / "net.pt"), data(["cat", "dog"])
    network = assembled(small, source, checkpoint=file)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == f"teacher.checkpoint: {file}: took 'model'; another network fits too: {file}#model_ema"
    assert torch.equal(network.backbone.head.weight, raw.head.weight)  # type: ignore[arg-type]
    caplog.clear()
    network = assembled(small, source, checkpoint=f"{file}#model_ema")
    assert torch.equal(network.backbone.head.weight, average.head.weight)  # type: ignore[arg-type]
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


# ---------------------------------------------------------------------------------------------------- what can't work


# ----------------------------------------------------------------------- weights that nobody says are trained already


def knowing(weights: dict[str, Tensor]) -> Any:
    """A builder that gives these weights, but for a last layer of another number of classes."""

    def build(num_classes: int, in_channels: int, own_head: bool = False) -> nn.Module:
        network = cnn(num_classes=num_classes, in_channels=in_channels, width=4)
        own = network.state_dict()
        network.load_state_dict(own | {n: w for n, w in weights.items() if w.shape == own[n].shape})
        return network

    return build


def test_a_teacher_that_comes_trained_is_used_as_it_is_unless_told() -> None:
    source, build = data(["cat", "dog"]), knowing(small(2, 3).state_dict())
    network = assembled(build, source, tells=False)
    assert (network.trained, network.pretrained) == (True, True)
    assert "same each time" in network.provenance
    told = assembled(build, source, tells=False, train=True)
    assert (told.trained, told.pretrained) == (False, True)
    student = assembled(build, source, "student", tells=False)
    assert (student.trained, student.provenance) == (False, "")
    assert not assembled(build, source, tells=True).pretrained
    assert not assembled(small, source, tells=False).pretrained


def test_a_teacher_that_comes_trained_but_for_its_last_layer_is_fine_tuned() -> None:
    network = assembled(knowing(small(5, 3).state_dict()), data(["cat", "dog"]), tells=False)
    assert (network.trained, network.pretrained) == (False, True)
    assert "but for head" in network.provenance


def test_a_teacher_that_comes_trained_for_other_classes_is_refused_with_what_would_work() -> None:
    weights, source = knowing(small(5, 3).state_dict()), data(["cat", "dog"])
    with pytest.raises(SettingError, match=r"5 outputs.*2 classes.*teacher\.classes=.*teacher\.head=new"):
        assembled(lambda *_: weights(5, 3), source, tells=False)
    assert assembled(lambda *_: weights(5, 3), source, tells=False, classes=[4, 0]).classes == (4, 0)


@pytest.mark.parametrize("wanted", [["n02123045", "n01440764"], ["tabby", "tench"]])
def test_a_thousand_outputs_of_unknown_names_are_imagenets(wanted: list[str]) -> None:
    weights = knowing(small(1000, 3).state_dict())
    assert assembled(lambda *_: weights(1000, 3), data(wanted), tells=False).classes == (281, 0)
    with pytest.raises(SettingError, match="1000 outputs"):
        assembled(lambda *_: weights(1000, 3), data([*wanted, "a thing of mine"]), tells=False)


class Lazy(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits


def test_lazy_layers_take_their_sizes_from_the_data(tmp_path: Path) -> None:
    source = data(["cat", "dog"])
    network = assembled(lambda *_: Lazy(2), source, "student")
    assert network(torch.rand(2, 3, 8, 8)).logits.shape == (2, 2)
    assert network.origin is not None
    assert network.origin.untrained["shape"] == [3, 8, 8]
    save_weights(network.backbone, tmp_path / "lazy.safetensors", metadata(network, source))
    again = assembled(lambda *_: Lazy(2), source, "student", checkpoint=str(tmp_path / "lazy.safetensors"))
    assert torch.equal(again.backbone.net[3].weight, network.backbone.net[3].weight)  # type: ignore[index, union-attr]


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.weight, self.error = nn.Parameter(torch.zeros(1)), error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AssertionError("Wrong image height! Expected 224"), r"Wrong image height! Expected 224; .*student\.size"),
        (AssertionError(), "AssertionError; "),
        (KeyError("blocks"), "KeyError: 'blocks'; "),
        (AttributeError("no attribute 'x'"), "AttributeError: no attribute 'x'; "),
        (NotImplementedError('Module [Net] is missing the required "forward" function'), "NotImplementedError: Module"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero; "),
    ],
)
def test_whatever_a_network_raises_is_one_line_with_its_role(error: Exception, words: str) -> None:
    source = data(["cat", "dog"])
    network = assembled(lambda *_: Failing(error), source, "student")
    with pytest.raises(SettingError, match=rf"^student: net cannot take images of \(3, 8, 8\): {words}"):
        check_network(network, "student", source)


def test_a_network_without_trainable_weights_is_refused_before_training() -> None:
    source = data(["cat", "dog"])
    network = assembled(lambda *_: small(2, 3).requires_grad_(False), source, "student")
    with pytest.raises(SettingError, match="student: net has no trainable weights"):
        check_network(network, "student", source)


def test_imagenets_classes_are_in_the_order_of_their_wordnet_ids() -> None:
    assert list(imagenet.wordnet_ids()) == sorted(imagenet.wordnet_ids())
    assert len(set(imagenet.names())) == len(set(imagenet.wordnet_ids())) == 1000
    assert imagenet.names()[imagenet.wordnet_ids().index("n03000684")] == "chain saw"


def test_a_checkpoint_of_lightning_says_how_its_images_were_prepared(tmp_path: Path) -> None:
    source = data(["cat", "dog"])
    trained = assembled(small, source, "student", mean=[0.9] * 3, std=[0.8] * 3)
    checkpoint: dict[str, Any] = {"state_dict": {f"student.{n}": t for n, t in trained.state_dict().items()}}
    DistillModule(trained).on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert prepared(assembled(small, source, checkpoint=str(tmp_path / "last.ckpt"))) == ([0.9] * 3, [0.8] * 3, None)
