"""A network as the framework sees it: images in [0, 1] or tokens in, logits and tapped features out."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.errors import SettingError, suggestion
from distill.inputs import Inputs, call, first_tensor
from distill.losses import Projection
from distill.models.logits import logits_of
from distill.models.preprocess import Preprocess
from distill.types import FeatureLayout, Outputs, Reading

INPUT = ":input"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a backbone was built of, as plain data: nodes with a `_target_` that `distill.config.build` takes.

    pretrained: with the weights that the user asked for by name. untrained: the same layers without.
    """

    pretrained: dict[str, Any]
    untrained: dict[str, Any]

    def within(self, outer: Mapping[str, Any]) -> "Origin":
        """Of a module around the backbone."""
        return Origin({**outer, "backbone": self.pretrained}, {**outer, "backbone": self.untrained})


class Network(nn.Module):
    """Wraps any network without editing it.

    It is shown images as one tensor, or tensors by the names of its arguments, such as input_ids and attention_mask.
    Each network normalises and resizes images for itself, so a teacher and a student that were made for different
    statistics or sizes can be shown the same augmented image.

    Args:
        backbone: maps (N, C, H, W) normalised images, or what its arguments are called, to (N, classes) logits, or to
            maps (N, classes, h, w), which are brought to the size of the images; or to a tuple, dict or object with
            these.
        name: what to call it in tables.
        mean, std: per channel, in units of [0, 1] images; None leaves the values as they are.
        size: side length in pixels that the backbone wants; None takes images as they come.
        trained: whether it knows the classes already; as a teacher it is then used as it is.
        pretrained: whether it starts from weights that were trained before, if on other classes.
        origin: what the backbone was built of; None where it came from elsewhere.
        channels: 3 shows grey images as RGB, 1 RGB images as grey; None takes images as they come.
        classes: which of the backbone's outputs are the data's classes, in the data's order; None: all, as they are.
        comparable: whether its logits are for the data's classes; else its features alone are of use.

    Attributes:
        frozen: parts of the backbone that stay in evaluation mode, whatever mode the network is in.
        class_names: of the backbone's outputs, where they are known.
        preparation: what is done to images before the backbone sees them and where that is from, in words.
        provenance: what was found of weights that the backbone came with, in words; empty for random ones.
    """

    preparation: str = ""
    provenance: str = ""
    class_names: tuple[str, ...] | None = None
    _classes: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        *,
        name: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: int | None = None,
        trained: bool = False,
        pretrained: bool = False,
        origin: Origin | None = None,
        channels: int | None = None,
        classes: Sequence[int] | None = None,
        comparable: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.origin = origin
        self.trained = trained
        self.pretrained = pretrained or trained
        self.frozen: set[nn.Module] = set()
        self.name = name or type(backbone).__name__
        self.preprocess = Preprocess(mean, std, size, channels)
        self.register_buffer("_classes", None, persistent=False)
        self.classes = classes
        self.comparable = comparable
        self.layouts: dict[str, FeatureLayout] = {}  # of the tapped layers, once they were looked at
        self._captured: dict[str, Tensor] = {}
        self._overwritten: dict[tuple[str, bool], bool] = {}  # by tap and mode: whether a later layer works in place
        self._watched: dict[str, tuple[Tensor, int]] = {}
        self.hooks: set[int] = set()  # identities of the taps' hooks
        self._memory_format = torch.contiguous_format
        self.lay_out(channels_last=True)

    @property
    def prepare(self) -> Preprocess:
        """What `preprocess` was called before."""
        return self.preprocess

    @property
    def convolves(self) -> bool:
        """Whether it has convolutions of maps, for which the order of channels in memory matters."""
        return any(isinstance(module, nn.Conv2d) for module in self.backbone.modules())

    @property
    def channels_last(self) -> bool:
        """Whether maps lie channels last in memory."""
        return self._memory_format == torch.channels_last

    def lay_out(self, *, channels_last: bool) -> None:
        """Have maps lie channels last in memory, where most convolutions on CPUs and in half precision are faster, or
        one channel after the other. Networks without convolutions stay as they are."""
        chosen = torch.channels_last if channels_last and self.convolves else torch.contiguous_format
        if chosen != self._memory_format:
            self.backbone.to(memory_format=chosen)
            self._memory_format = chosen

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen parts stay in the latter."""
        super().train(mode)
        for part in self.frozen:
            part.training = False
        return self

    @property
    def classes(self) -> tuple[int, ...] | None:
        """Which of the backbone's outputs are the data's classes."""
        return None if self._classes is None else tuple(self._classes.tolist())

    @classes.setter
    def classes(self, outputs: Sequence[int] | None) -> None:
        self._classes = None if outputs is None else torch.tensor(list(outputs))

    def settings(self) -> dict[str, Any]:
        """The arguments that decide what it makes of images and answers, as plain data."""
        outputs = {"classes": None if self.classes is None else list(self.classes), "comparable": self.comparable}
        return {**self.preprocess.settings(), **outputs}

    @property
    def tapped(self) -> tuple[str, ...]:
        """The paths that are captured."""
        return tuple(self._captured)

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture the outputs of submodules from now on.

        Args:
            patterns: submodule paths, `*` standing for any run of characters but a dot: `layer*.2`. With `:input`
                behind it, what goes into the submodule rather than what comes out.

        Returns:
            The paths that matched, in the order of the patterns and, within one, of the network.

        Raises:
            SettingError: a pattern that matches nothing.
        """
        modules = {path: module for path, module in self.backbone.named_modules() if path}
        paths = tuple(dict.fromkeys(path for pattern in patterns for path in _matching(pattern, modules)))
        for path in paths:
            if path not in self._captured:
                self.hooks.add(self._hook(path, modules[path.removesuffix(INPUT)]))
                self._captured[path] = torch.empty(0)
        return paths

    def around(self, backbone: nn.Module) -> "Network":
        """This network itself if `backbone` is its own; else one that shows images to `backbone` as this one would.

        backbone: a module around this network's own. Its attribute `recipe`, where it has one, is a node as in
            `Origin`, which builds its other layers when called with a `backbone`.
        """
        if backbone is self.backbone:
            return self
        recipe = getattr(backbone, "recipe", None)
        origin = self.origin.within(recipe) if self.origin and recipe else None
        other = Network(backbone, name=self.name, origin=origin)
        other.preprocess, other.preparation, other.layouts = self.preprocess, self.preparation, self.layouts
        other.lay_out(channels_last=self.channels_last)
        return other

    def forward(self, inputs: Inputs) -> Outputs:
        """Answer for (N, C, H, W) images, float in [0, 1] or uint8, or for tensors by name."""
        prepared = self.prepared(inputs)
        output = call(self.backbone, prepared)
        for path, (value, version) in self._watched.items():
            self._overwritten[path, self.training] = value._version != version
        self._watched.clear()
        features = dict(self._captured)
        for path in self._captured:
            self._captured[path] = torch.empty(0)
        if isinstance(output, Projection):
            return Outputs(output.hidden.new_empty(len(output.hidden), 0), features, None, self.layouts, None, output)
        logits = logits_of(output)
        logits = logits if self._classes is None else logits.index_select(1, self._classes)
        reading = self._reading(output, prepared, inputs)
        auxiliary = output.get("auxiliary") if isinstance(output, Mapping) else None
        if reading is None and isinstance(inputs, Tensor):
            logits = _as_large_as(logits, inputs)
            auxiliary = None if auxiliary is None else _as_large_as(auxiliary, inputs)
        return Outputs(logits, features, layouts=self.layouts, reading=reading, auxiliary=auxiliary)

    def _reading(self, output: Any, prepared: Inputs, images: Inputs) -> Reading | None:
        """Of a backbone that has a method `read`: called with what it gave, and with the height and width of what it
        was shown and of the images as they were."""
        read = getattr(self.backbone, "read", None)
        return None if read is None else read(output, *(first_tensor(part).shape[-2:] for part in (prepared, images)))

    def prepared(self, inputs: Inputs) -> Inputs:
        """Inputs as the backbone takes them: images at its size, normalised, as they lie in memory for it."""
        ready: Inputs = self.preprocess(inputs)
        return self.arrange(ready) if isinstance(ready, Tensor) else ready

    def arrange(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) images or features as they lie in memory for the backbone; anything else as it is."""
        return maps.contiguous(memory_format=self._memory_format) if maps.dim() == 4 else maps

    def _hook(self, path: str, module: nn.Module) -> int:
        """Capture what goes into a module, before it may work in place, or what comes out; the hook's identity."""
        if path.endswith(INPUT):
            return module.register_forward_pre_hook(lambda _module, inputs: self._capture(path, inputs)).id
        return module.register_forward_hook(lambda _module, _inputs, output: self._capture(path, output)).id

    def _capture(self, path: str, output: Any) -> None:
        """Keep a tap's value: a copy where a later layer writes over it, and in the first pass, which tells.

        Else a view, so that gradients of several layers behind it are added up in the same order in every pass.
        """
        value = logits_of(output)
        known = self._overwritten.get((path, self.training))
        if known is None and not value.is_inference():
            self._watched[path] = value, value._version
        self._captured[path] = value.view_as(value) if known is False else value.clone()


def _as_large_as(logits: Tensor, images: Tensor) -> Tensor:
    """Maps (N, C, h, w) of another stride at the size of the images, bilinear; (N, C) as they are."""
    if logits.dim() != 4 or logits.shape[2:] == images.shape[2:]:
        return logits
    return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)


def _matching(pattern: str, modules: Mapping[str, nn.Module]) -> list[str]:
    suffix = INPUT if pattern.endswith(INPUT) else ""
    parts = pattern.removesuffix(INPUT).split(".")
    found = [
        path + suffix
        for path in modules
        if len(names := path.split(".")) == len(parts) and all(map(fnmatch.fnmatchcase, names, parts))
    ]
    if not found:
        raise SettingError(f"no layer matches {pattern!r}{suggestion(pattern, modules)}")
    return found
