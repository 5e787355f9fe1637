"""Focal and global knowledge distillation for detectors (FGD, Yang et al., 2111.11837).

    fgd = sum over levels of
        foreground / N sum F A_s A_c (s - t)^2 + background / N sum B A_s A_c (s - t)^2
        + attention / N (|A_s(s) - A_s(t)| + |A_c(s) - A_c(t)|) + relation / N sum (G_s(s) - G_t(t))^2

Shapes: maps (N, C, H, W); s is the student's map, through a 1x1 convolution where channels differ. A_s = H W softmax
over positions of the mean |t| over channels / T, A_c = C softmax over channels of the mean |t| over positions / T. F
is 1 / area in the cells of a box, the largest where boxes overlap; B is 1 / their number in all other cells. G adds
to each position what a block of global context (GcBlock, 1904.11492) makes of the whole map; both networks' blocks
are learned.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.boxes import Boxes
from distill.inputs import first_tensor
from distill.methods.base import Example, Method, Taps, not_negative, positive
from distill.methods.projection import matched_maps, projector, through
from distill.methods.view import Trait
from distill.types import Batch, Outputs


class FGD(Method):
    """The teacher's features, objects and background apart, where it attends to, and how positions relate.

    Args:
        student_layers, teacher_layers: taken in pairs; the levels of the pyramid in the paper.
        temperature: of the attention, above 0.
        foreground, background, attention, relation: of the four parts.
        weight: of all of them.
        label_weight: of the labels' loss.
    """

    needs_logits = False
    needs_classes = True
    needs: frozenset[Trait] = frozenset({"boxes"})

    def __init__(
        self,
        student_layers: Sequence[str] = ("levels.*",),
        teacher_layers: Sequence[str] = ("levels.*",),
        temperature: float = 0.5,
        foreground: float = 1e-3,
        background: float = 5e-4,
        attention: float = 5e-4,
        relation: float = 5e-6,
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.temperature = positive("temperature", temperature)
        self.foreground = not_negative("foreground", foreground)
        self.background = not_negative("background", background)
        self.attention = not_negative("attention", attention)
        self.relation = not_negative("relation", relation)

    def setup(self, example: Example) -> None:
        """Create the projections where channels differ, and both networks' blocks of global context."""
        levels = matched_maps(self, example.student, example.teacher, positions=True)
        self.projectors = nn.ModuleList(projector(s, t) for s, t in levels)
        self.student_context, self.teacher_context = (
            nn.ModuleList(GlobalContext(t.shape[1]) for _, t in levels) for _ in range(2)
        )

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `fgd_foreground`, `fgd_background`, `fgd_attention` and `fgd_relation`."""
        boxes, size = Boxes.of(batch.targets), first_tensor(batch.inputs).shape[-2:]
        levels = zip(
            self.projectors,
            self.student_context,
            self.teacher_context,
            matched_maps(self, student, teacher, positions=True),
            strict=True,
        )
        parts = []
        for project, ours, theirs, (s, t) in levels:
            s = through(project, s)
            (places, channels), (own_places, own_channels) = (_attention(x, self.temperature) for x in (t, s))
            inside, outside = _cells(boxes, (size[0], size[1]), t)
            gaps = places[:, None] * channels[:, :, None, None] * (s - t).square()
            off = (own_places - places).abs().sum() + (own_channels - channels).abs().sum()
            relation = (through(ours, s) - through(theirs, t)).square().sum()
            of_level = ((gaps * inside[:, None]).sum(), (gaps * outside[:, None]).sum(), off, relation)
            parts.append(torch.stack(of_level) / len(t))
        foreground, background, attention, relation = torch.stack(parts).sum(0)
        return {
            "fgd_foreground": foreground,
            "fgd_background": background,
            "fgd_attention": attention,
            "fgd_relation": relation,
        }

    def weight_of(self, term: str) -> float:
        """Each part's own counts beside `weight`."""
        own = getattr(self, term.removeprefix("fgd_")) if term.startswith("fgd_") else 1.0
        return super().weight_of(term) * float(own)


class GlobalContext(nn.Module):
    """Adds to each position of a map (N, C, H, W) what a bottleneck makes of the map's attended mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(1, channels // 2)
        self.attend = nn.Conv2d(channels, 1, 1, bias=False)  # which a softmax would not see
        self.add = nn.Sequential(
            nn.Conv2d(channels, middle, 1), nn.LayerNorm([middle, 1, 1]), nn.ReLU(), nn.Conv2d(middle, channels, 1)
        )
        nn.init.kaiming_normal_(self.attend.weight, mode="fan_in")
        for part in self.add[-1].parameters():
            nn.init.zeros_(part)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The map with its context."""
        shares = self.attend(x).flatten(2).softmax(2)  # (N, 1, H W)
        context = (x.flatten(2) * shares).sum(2)[:, :, None, None]
        added: Tensor = x + self.add(context)
        return added


def _attention(x: Float[Tensor, "n c h w"], temperature: float) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n c"]]:
    """Of positions and of channels; the mean of each is 1."""
    size = x.abs()
    places = (size.mean(1).flatten(1) / temperature).softmax(1).view_as(size[:, 0])
    channels = (size.mean((2, 3)) / temperature).softmax(1)
    return places * places[0].numel(), channels * channels.shape[1]


def _cells(
    boxes: Boxes, image: tuple[int, int], feature: Float[Tensor, "n c h w"]
) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """1 / area in the cells of a box, and 1 / their number in the others: from the cell in which a box begins to the
    one in which its edge ends, both included, as in the published code.

    image: height and width of the images that boxes are given in. feature: the map whose cells these are.
    """
    grid = feature.shape[2:]
    corners = boxes.corners.to(torch.promote_types(boxes.corners.dtype, feature.dtype))
    left, top, right, bottom = corners.unbind(-1)
    spans = []
    for low, high, count, pixels in ((top, bottom, grid[0], image[0]), (left, right, grid[1], image[1])):
        low, high = (low * (count / pixels)).floor()[..., None], (high * (count / pixels)).ceil()[..., None]
        cells = torch.arange(count, device=low.device)
        spans.append(((cells >= low) & (cells <= high), high - low + 1))
    (rows, height), (columns, width) = spans
    there = rows[..., :, None] & columns[..., None, :] & boxes.there[..., None, None]  # (N, M, H, W)
    inside = (there / (height * width)[..., None]).amax(1)
    free = (inside == 0).to(inside.dtype)
    return inside, free / free.sum((1, 2), keepdim=True).clamp_min(1)
