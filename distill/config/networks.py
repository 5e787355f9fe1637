"""A network of a run from its parts: what builds it, its settings, a file of weights, and the data."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from distill.config.preparation import Statistics, preparation
from distill.config.settings import NetworkSettings
from distill.config.trial_pass import first_inputs, show_samples
from distill.data.source import ImageSource, Source
from distill.errors import SettingError, first_line
from distill.inputs import first_tensor
from distill.models import classes
from distill.models.checkpoint import OtherChannelsError, OtherClassesError, load_weights
from distill.models.heads import renew_head, with_head
from distill.models.lazy import initialise, is_lazy
from distill.models.network import Network, Origin
from distill.models.preprocess import Preprocess
from distill.models.preprocessing import Preprocessing, from_metadata, preprocessing_of
from distill.models.provenance import UNKNOWN, Provenance, provenance
from distill.models.weights_file import CheckpointError, Weights, read_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackboneBuilder:
    """Builds a backbone.

    build: called with the number of classes and channels, and whether pretrained weights keep their own last layer.
        Gives the backbone, and what it was built of, as plain data.
    keeps_heads: whether it respects the last argument.
    tells: whether the backbone says itself if its weights are trained; the project's own builders do.
    """

    build: Callable[[int, int, bool], tuple[nn.Module, dict[str, Any]]]
    keeps_heads: bool = False
    tells: bool = True


def assemble(
    maker: BackboneBuilder,
    own: NetworkSettings,
    where: str,
    source: Source,
    statistics: Statistics | None,
    *,
    needs_logits: bool = True,
) -> Network:
    """The network of 'teacher' or 'student', its weights loaded if it has a checkpoint.

    It normalises and resizes as configured; else as the file of weights says; else as the weights' configuration
    says, which timm and torchvision know; else by the data's statistics.

    A teacher may answer for more classes than the data has: its outputs are chosen by `own.classes`, or found by their
    names. Where neither is possible, it is used for its features alone if `needs_logits` is False.

    Raises:
        SettingError: a file that doesn't fit, statistics for another number of channels, or other classes.
    """
    try:
        weights = None if own.checkpoint is None else read_weights(own.checkpoint)
        header = (from_metadata(weights.about) if weights else None) or Preprocessing()
        channels = own.channels or header.channels or (source.channels if isinstance(source, ImageSource) else 0)
        return _Assembly(maker, own, where, source, statistics, weights, header, channels).network(needs_logits)
    except OtherChannelsError as error:
        advice = f"{where}.channels={error.channels} shows it images as it knows them"
        raise SettingError(f"{where}.checkpoint: {error}; {advice}") from error
    except CheckpointError as error:
        raise SettingError(f"{where}.checkpoint: {error}") from error


@dataclass(frozen=True, slots=True)
class _Assembly:
    """The parts, and the steps from them to a network."""

    maker: BackboneBuilder
    own: NetworkSettings
    where: str
    source: Source
    statistics: Statistics | None
    weights: Weights | None
    header: Preprocessing
    channels: int

    def network(self, needs_logits: bool) -> Network:
        """What the parts make."""
        if self.where != "teacher" or self.own.head == "new":
            return self._for_the_datas_classes()
        random = torch.get_rng_state()
        try:
            network = self._filled(self.source.num_classes, keep_head=True)
        except OtherClassesError as error:
            torch.set_rng_state(random)
            network = self._filled(error.classes, keep_head=True)
        if not (network.trained or network.pretrained):
            return network
        count = show_samples(network, self.where, self.source).classes
        network.classes = self._outputs(network, count)
        if network.classes is not None or count == self.source.num_classes:
            return network
        if not needs_logits:
            network.comparable = False
            return network
        if self.weights is None and self.maker.keeps_heads:
            torch.set_rng_state(random)
            return self._for_the_datas_classes()
        raise SettingError(other_classes(self.where, network.name, count, self.source))

    def _is_unknown(self, backbone: nn.Module) -> bool:
        """Whether it matters if a teacher's weights are trained, and nobody says so."""
        own, told = self.own, self.own.train is False or self.own.max_epochs == 0
        asked = self.where == "teacher" and own.head is None and not told
        return asked and not self.maker.tells and self.weights is None and not preprocessing_of(backbone).trained

    def _for_the_datas_classes(self) -> Network:
        if self.own.head == "new":
            return self._with_a_new_head()
        try:
            return self._filled(self.source.num_classes, keep_head=False)
        except OtherClassesError as error:
            raise SettingError(
                f"{self.where}.checkpoint: {self.own.checkpoint} was trained for {error.classes} classes and the data "
                f"has {self.source.num_classes}: {self.where}.head=new gives it a new last layer"
            ) from error

    def _filled(self, outputs: int, *, keep_head: bool) -> Network:
        """A network with its weights."""
        backbone, built = self.maker.build(outputs, self.channels, keep_head)
        weights = UNKNOWN
        if self._is_unknown(backbone):
            weights = provenance(backbone, lambda: self.maker.build(outputs, self.channels, keep_head)[0])
        network = self._wrapped(backbone, built, weights)
        if self.weights is not None:
            self._load(network, self.weights)
        return network

    def _with_a_new_head(self) -> Network:
        """A network with its weights but for its last layer, which is random and must be trained."""
        network = self._wrapped(*self.maker.build(self.source.num_classes, self.channels, False))
        show_samples(network, self.where, self.source)
        try:
            path, head = renew_head(network, network.preprocess(first_inputs(self.source)), self.source.num_classes)
        except SettingError as error:
            raise SettingError(f"{self.where}.{error}") from error
        if self.weights is not None:
            self._load(network, self.weights, [f"{path}.{name}" for name in head.state_dict()])
        network.backbone.set_submodule(path, head)
        assert network.origin is not None
        recipe = {"_target_": f"{with_head.__module__}.{with_head.__qualname__}", "layer": path}
        network.origin = network.origin.within({**recipe, "outputs": self.source.num_classes})
        network.trained = self._is_trained(False)
        network.pretrained = True  # a last layer is renewed to keep what lies before it
        network.class_names = None
        network.provenance = f"its last layer {path} is new, for {self.source.num_classes} classes"
        log.info(f"{self.where}: {network.provenance}")
        return network

    def _load(self, network: Network, weights: Weights, anew: Sequence[str] = ()) -> None:
        report = load_weights(network.backbone, weights, anew)
        log.info(report.summary())
        if choice := report.choice():
            log.warning(f"{self.where}.checkpoint: {choice}")

    def _wrapped(self, backbone: nn.Module, built: dict[str, Any], weights: Provenance = UNKNOWN) -> Network:
        """The network that prepares images for a backbone; weights: what was found of those that it came with."""
        said = preprocessing_of(backbone)
        usual = said.of_weights or said if self._published else said
        preprocess, words = preparation(self.where, self.own, self.header, usual, self.source, self.statistics)
        origin = Origin(built, {**built, **said.untrained})
        if is_lazy(backbone):
            origin = self._initialise(backbone, preprocess, origin)
        known = said.trained or self.weights is not None or (weights.pretrained and not weights.anew)
        network = Network(
            backbone,
            name=self.own.name or said.name,
            trained=self._is_trained(known),
            pretrained=known or weights.pretrained or said.pretrained or said.mean is not None,
            origin=origin,
            **preprocess.settings(),
        )
        network.preparation = words
        if weights.pretrained:
            network.provenance = weights.in_words()
            log.info(f"{self.where}: {network.provenance}")
        network.class_names = self.header.classes or usual.classes
        if words:
            log.info(f"{self.where}: {words}")
        return network

    def _initialise(self, backbone: nn.Module, preprocess: Preprocess, origin: Origin) -> Origin:
        """Give lazy layers their sizes, by a look at the data."""
        image = first_tensor(preprocess(first_inputs(self.source)))[:1]
        try:
            initialise(backbone, list(image.shape[1:]))
        except Exception as error:  # whatever a user's network raises
            raise SettingError(
                f"{self.where}: {type(backbone).__name__}, whose lazy layers take their sizes from the first image, "
                f"cannot take one of {tuple(image.shape[1:])}: {first_line(error)}"
            ) from error
        target = f"{initialise.__module__}.{initialise.__qualname__}"
        return origin.within({"_target_": target, "shape": list(image.shape[1:])})

    def _is_trained(self, known: bool) -> bool:
        """Whether a teacher is used as it is; known: it has weights for its classes."""
        return known or self.own.max_epochs == 0 if self.own.train is None else not self.own.train

    @property
    def _published(self) -> bool:
        """Whether weights come from a file that is not of a run of this project, which names its network in it."""
        return self.weights is not None and "name" not in self.weights.about

    def _outputs(self, network: Network, count: int) -> tuple[int, ...] | None:
        """Which outputs are the data's classes; None for all as they are, or where that is unknown."""
        wanted = list(map(str, self.source.class_names))
        known = network.class_names if network.class_names and len(network.class_names) == count else None
        if self.own.classes is not None:
            try:
                found: tuple[int, ...] | None = classes.choose(self.own.classes, wanted, known, count)
            except SettingError as error:
                raise SettingError(f"{self.where}.{error}") from error
        else:
            found = classes.match(wanted, known, count)
        return None if found == tuple(range(count)) else found


def other_classes(where: str, name: str, count: int, source: Source) -> str:
    """The message that a network has other classes than the data, and what to do."""
    if where != "teacher":
        return (
            f"{where}: {name} has {count} outputs, and {source.name} has {source.num_classes} classes: give it "
            f"{source.num_classes} outputs"
        )
    return (
        f"teacher: {name} has {count} outputs, and {source.name} has {source.num_classes} classes, whose names are not "
        "those of its outputs: teacher.classes=FILE or [...] says which outputs they are, in the data's order (index, "
        "name or WordNet id); teacher.head=new gives it a new last layer, and trains it first; methods of features "
        "alone, such as method=fitnet or method=at, take it as it is"
    )
