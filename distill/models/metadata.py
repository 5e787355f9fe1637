"""The metadata saved beside a network's weights, and a network with the weights of another file."""

import copy
import json

from distill.data.source import ImageSource, Source
from distill.models.checkpoint import load_weights
from distill.models.network import Network
from distill.models.preprocess import Preprocess
from distill.models.preprocessing import Preprocessing, from_metadata, to_metadata
from distill.models.weights_file import ABOUT, read_weights


def metadata(network: Network, source: Source | None = None) -> dict[str, str]:
    """What is saved beside a network's weights: how it prepares images, and of which data its classes are."""
    own = network.preprocess.settings()
    size, channels = own["size"], own["channels"]
    names: tuple[str, ...] | None = None
    if isinstance(source, ImageSource):
        images, height, width = source.train.shape
        size = size or (height if height == width else None)
        channels = channels or images
    if source is not None:
        names = tuple(map(str, source.class_names))
        if network.classes is not None:  # the file's outputs are more than these
            names = network.class_names
    known = Preprocessing(own["mean"], own["std"], size, channels=channels, classes=names)
    return {ABOUT: json.dumps({"name": network.name, **to_metadata(known)})}


def with_weights(network: Network, file: str) -> Network:
    """A copy of a network with the weights of another file, which prepares images as that file says.

    Raises:
        CheckpointError: it doesn't fit.
    """
    weights = read_weights(file)
    other = copy.deepcopy(network)
    load_weights(other.backbone, weights)
    known = from_metadata(weights.about)
    if known is not None and known.mean is not None:
        other.preprocess = Preprocess(
            known.mean, known.std, known.size or other.preprocess.size, other.preprocess.channels
        )
    return other
