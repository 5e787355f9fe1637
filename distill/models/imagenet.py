"""ImageNet-1k's classes in the order that all published networks have them in: that of their WordNet ids."""

from functools import cache
from pathlib import Path

from torchvision.models import ResNet18_Weights

COUNT = 1000


@cache
def names() -> tuple[str, ...]:
    """'tench', 'goldfish', ...: torchvision's, all different."""
    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def wordnet_ids() -> tuple[str, ...]:
    """'n01440764', 'n01443537', ...: what folders of its pictures are called."""
    return tuple(Path(__file__).with_name("imagenet_wordnet_ids.txt").read_text().split())
