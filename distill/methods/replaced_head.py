"""A backbone under another network's classifier: what SimKD deploys."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.projection import as_map, bottleneck, shrunk, through


class ProjectedHead(nn.Module):
    """From a student's features to logits, through a teacher's classifier.

    Args:
        channels: of the student's features, of the projector's middle, and of the teacher's features.
        relu: whether the projector ends in one.
        classifier: (N, C_teacher) to logits.
        height, width: larger maps are averaged down to this before they are projected.
    """

    def __init__(
        self, channels: tuple[int, int, int], classifier: nn.Linear, *, relu: bool, height: int, width: int
    ) -> None:
        super().__init__()
        parts = [*bottleneck(*channels), nn.BatchNorm2d(channels[2])]
        self.projector: nn.Module = nn.Sequential(*parts, nn.ReLU()) if relu else nn.Sequential(*parts)
        self.classifier = classifier
        self.height, self.width = height, width
        self.settings: dict[str, Any] = {
            "channels": list(channels), "classes": classifier.out_features, "bias": classifier.bias is not None,
            "relu": relu, "height": height, "width": width,
        }  # fmt: skip

    def project(self, feature: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d _ _"]:
        """The student's features in the teacher's channels."""
        return through(self.projector, shrunk(feature, self.height, self.width))

    def forward(self, feature: Float[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """(N, classes) logits for a map, tokens or an embedding."""
        return through(self.classifier, self.project(as_map(feature, "the student's layer")).mean((2, 3)))


class WithReplacedHead(nn.Module):
    """A backbone whose answer is that of a head on one of its layers.

    Args:
        backbone: any network of images.
        layer: path of the submodule whose output the head sees.
        head: features to logits.
    """

    def __init__(self, backbone: nn.Module, layer: str, head: ProjectedHead) -> None:
        super().__init__()
        backbone.get_submodule(layer)
        self.backbone, self.layer, self.head = backbone, layer, head

    @property
    def recipe(self) -> dict[str, Any]:
        """What builds the same layers around the same backbone; see `distill.models.network.Network.around`."""
        target = f"{with_replaced_head.__module__}.{with_replaced_head.__qualname__}"
        return {"_target_": target, "layer": self.layer, **self.head.settings}

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """(N, classes) logits for (N, C, H, W) images."""
        seen: list[Tensor] = []
        hook = self.backbone.get_submodule(self.layer).register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            self.backbone(images)
        finally:
            hook.remove()
        logits: Tensor = self.head(seen[-1])
        return logits


def with_replaced_head(
    backbone: nn.Module,
    layer: str,
    channels: list[int],
    classes: int,
    bias: bool,
    relu: bool,
    height: int,
    width: int,
) -> WithReplacedHead:
    """A `WithReplacedHead` of these sizes with random weights; the settings are those of a `ProjectedHead`."""
    inputs, middle, outputs = channels
    classifier = nn.Linear(outputs, classes, bias=bias)
    head = ProjectedHead((inputs, middle, outputs), classifier, relu=relu, height=height, width=width)
    return WithReplacedHead(backbone, layer, head)
