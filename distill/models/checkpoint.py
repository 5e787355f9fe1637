"""Loads a file's weights into a network, from the place in the file whose names and shapes fit."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from distill.models.matching import (
    Fit,
    all_fits,
    best_fits,
    channels_there,
    classes_there,
    mismatch_message,
    others_than,
    plain,
    some,
    written,
)
from distill.models.weights_file import CheckpointError, Weights, read_weights


class OtherClassesError(CheckpointError):
    """A file whose network fits but for its last layer, which is for `classes` classes."""

    def __init__(self, message: str, classes: int) -> None:
        super().__init__(message)
        self.classes = classes


class OtherChannelsError(CheckpointError):
    """A file whose network fits but for its first layer, which is for images of `channels` channels."""

    def __init__(self, message: str, channels: int) -> None:
        super().__init__(message)
        self.channels = channels


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What of a file went into a network.

    matched: names of the network's tensors that the file filled.
    missing: those that it did not have, and that need not be there: counters, and tensors tied to a matched one.
    unexpected: what the file has under the prefix and the network has no place for, such as an auxiliary head.
    prefix: what stands before the network's names in the file, nesting included: "state_dict.student.".
    others: where else in the file another network lies that fits as well, such as "model_ema".
    """

    path: Path
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str
    others: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say it in one line."""
        parts = [f"{self.path}: {len(self.matched)} tensors loaded"]
        if self.prefix:
            parts.append(f"found under {self.prefix!r}")
        if self.missing:
            parts.append(f"{len(self.missing)} not in the file and not needed")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} in the file ignored ({some(self.unexpected)})")
        return ", ".join(parts)

    def choice(self) -> str | None:
        """Say in one line that there was a choice; None where there was none."""
        if not self.others:
            return None
        taken, places = written(self.prefix), ", ".join(f"{self.path}#{other}" for other in self.others)
        return (
            f"{self.path}: took {repr(taken) if taken else 'what lies at its top'}; another network fits too: {places}"
        )


def load_weights(module: nn.Module, weights: str | Path | Weights, anew: Collection[str] = ()) -> LoadReport:
    """Fill `module` with the weights of a file: safetensors, or what torch.save made of a state dict.

    The state dict may lie inside dictionaries (a Lightning checkpoint, {"model": ...}), and its names may begin with a
    prefix ("student.backbone.", "module.", "_orig_mod."): the place whose names and shapes fit best is taken, of those
    under PREFIX where FILE#PREFIX is given. Either every tensor of the network is filled or the network is left as it
    was.

    Args:
        module: any network.
        weights: a file, or what was read of it.
        anew: names of the network's tensors that stay as they are, whatever the file has for them.

    Raises:
        CheckpointError: the file is missing, damaged, would run code, or does not fit the network.
        OtherClassesError, OtherChannelsError: it fits but for the number of these.
    """
    read = weights if isinstance(weights, Weights) else read_weights(weights)
    state = module.state_dict(keep_vars=True)
    names = {plain(name): name for name, value in state.items() if isinstance(value, Tensor) and name not in anew}
    wanted = {short: state[name] for short, name in names.items()}
    kept = {plain(name) for name in anew}
    fits = best_fits(wanted, read.tensors, read.under)
    everywhere = all_fits(wanted, read.tensors)
    if not fits or (read.under is not None and mismatch_message(wanted, fits) and everywhere):
        places = ", ".join(written(fit.prefix) or "(the top)" for fit in everywhere)
        raise CheckpointError(
            f"{read.path}#{read.under}: no network that fits lies there; "
            + (f"those that fit: {places}" if places else "none in the file does")
        )
    fits = [_without(fit, kept) for fit in fits]
    problem = mismatch_message(wanted, fits)
    if problem:
        if classes := classes_there(wanted, fits[0]):
            raise OtherClassesError(f"{read.path}: {problem}", classes)
        if channels := channels_there(wanted, fits[0]):
            raise OtherChannelsError(f"{read.path}: {problem}", channels)
        raise CheckpointError(f"{read.path}: {problem}")
    fit = fits[0]
    if read.under is None and (unclear := others_than(fit, fits)):
        places = " or ".join(f"{read.path}#{place}" for place in (written(fit.prefix), *unclear))
        raise CheckpointError(f"{read.path}: holds several networks that fit equally well; say which: {places}")
    module.load_state_dict({names[short]: fit.tensors[short] for short in fit.matched}, strict=False)
    others = () if read.under is not None else others_than(fit, everywhere)
    return LoadReport(read.path, fit.matched, fit.spared, fit.unexpected, fit.prefix, others)


def _without(fit: Fit, names: Collection[str]) -> Fit:
    """The fit, where what the file has under some names is none of its concern."""
    return replace(fit, unexpected=tuple(name for name in fit.unexpected if name not in names))
