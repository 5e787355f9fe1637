"""A backbone under another network's classifier: what SimKD deploys."""

from torch import Tensor, nn

from distill.methods.projection import as_map, shrunk


class ProjectedHead(nn.Module):
    """From a student's features to logits, through a teacher's classifier.

    Args:
        projector: maps (N, C_student, H, W) to (N, C_teacher, H, W).
        classifier: (N, C_teacher) to logits.
        height, width: larger maps are averaged down to this before they are projected.
    """

    def __init__(self, projector: nn.Module, classifier: nn.Module, height: int, width: int) -> None:
        super().__init__()
        self.projector, self.classifier = projector, classifier
        self.height, self.width = height, width

    def project(self, feature: Tensor) -> Tensor:
        """The student's features in the teacher's channels."""
        projected: Tensor = self.projector(shrunk(feature, self.height, self.width))
        return projected

    def forward(self, feature: Tensor) -> Tensor:
        """(N, classes) logits for a map, tokens or an embedding."""
        logits: Tensor = self.classifier(self.project(as_map(feature, "the student's layer")).mean((2, 3)))
        return logits


class Reclassified(nn.Module):
    """A backbone whose answer is that of a head on one of its layers.

    Args:
        backbone: any network of images.
        layer: path of the submodule whose output the head sees.
        head: features to logits.
    """

    def __init__(self, backbone: nn.Module, layer: str, head: nn.Module) -> None:
        super().__init__()
        backbone.get_submodule(layer)
        self.backbone, self.layer, self.head = backbone, layer, head

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits for (N, C, H, W) images."""
        seen: list[Tensor] = []
        hook = self.backbone.get_submodule(self.layer).register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            self.backbone(images)
        finally:
            hook.remove()
        logits: Tensor = self.head(seen[-1])
        return logits
