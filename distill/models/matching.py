"""Matches the tensors of a file to those of a network by names and shapes, and explains a mismatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

# Where several places of a file fit equally well, the network is looked for in this order.
USUAL_PLACES = ("", "state_dict.", "model_state_dict.", "model.", "net.", "module.", "weights.", "params.")


@dataclass(frozen=True, slots=True)
class Fit:
    """How the tensors under one prefix of a file fit a network, by the network's names.

    tensors: what the file has under the prefix, without it. matched: of equal shape. reshaped: of another shape.
    missing: the network's names that the file lacks, those it can do without (`spared`) left out.
    unexpected: the file's names that the network lacks.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    matched: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    spared: tuple[str, ...]
    unexpected: tuple[str, ...]


def plain(name: str) -> str:
    """Return the name of a tensor without what torch.compile puts into it."""
    return name.replace("_orig_mod.", "")


def best_fits(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], under: str | None = None) -> list[Fit]:
    """Return the fit under the prefix with the most tensors of the right name and shape; several where that is open.

    under: where to look, such as "model_ema" or "state_dict.student"; None looks everywhere. Empty where nothing of the
        file has a name of the network there.
    """
    scores = _scores(wanted, tensors)
    if under is not None:
        scores = {prefix: score for prefix, score in scores.items() if _lies_under(prefix, under)}
    if not scores:
        return []
    best = max(scores.values())
    prefixes = [prefix for prefix, score in scores.items() if score == best]
    usual = [place for place in USUAL_PLACES if place in prefixes]
    return [_fit(wanted, tensors, prefix) for prefix in usual[:1] or prefixes]


def all_fits(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[Fit]:
    """Return every place of a file from which the network can be filled, in the file's order."""
    half = (len(wanted) + 1) // 2  # what lacks more cannot fit; sparing the look at every other prefix
    prefixes = [prefix for prefix, (shapes, _) in _scores(wanted, tensors).items() if shapes >= half]
    fits = [_fit(wanted, tensors, prefix) for prefix in prefixes]
    return [fit for fit in fits if mismatch_message(wanted, [fit]) is None]


def others_than(taken: Fit, fits: Sequence[Fit]) -> tuple[str, ...]:
    """Return the places of those that hold other values than the one that was taken, as a user writes them."""
    return tuple(written(fit.prefix) for fit in fits if fit.prefix != taken.prefix and _differ(taken, fit))


def written(prefix: str) -> str:
    """Return a prefix as it stands behind the # of FILE#PREFIX."""
    return prefix.removesuffix(".")


def classes_there(wanted: Mapping[str, Tensor], fit: Fit) -> int | None:
    """Return for how many classes the file's network was trained where that is all that keeps it from fitting."""
    strange = any(_contradicts(name, wanted) for name in fit.unexpected)
    if fit.missing or strange or not fit.reshaped or not _one_layer(fit.reshaped):
        return None
    pairs = [(fit.tensors[name].shape, wanted[name].shape) for name in fit.reshaped]
    same_inputs = all(len(theirs) == len(ours) and theirs[1:] == ours[1:] for theirs, ours in pairs)
    return pairs[0][0][0] if same_inputs and all(len(theirs) for theirs, _ in pairs) else None


def channels_there(wanted: Mapping[str, Tensor], fit: Fit) -> int | None:
    """Return for how many channels the file's network was trained where its first layer alone keeps it from fitting."""
    if fit.missing or len(fit.reshaped) != 1 or fit.reshaped[0] != next(iter(wanted)):
        return None
    theirs, ours = fit.tensors[fit.reshaped[0]].shape, wanted[fit.reshaped[0]].shape
    same = len(theirs) == len(ours) > 1 and (theirs[0], theirs[2:]) == (ours[0], ours[2:])
    return theirs[1] if same else None


def _scores(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return by prefix how many tensors have the right shape, and how many the right name."""
    scores: dict[str, tuple[int, int]] = {"": (0, 0)}
    for key, tensor in tensors.items():
        for prefix, name in _splits(key):
            if name in wanted:
                shapes, names = scores.get(prefix, (0, 0))
                scores[prefix] = (shapes + (wanted[name].shape == tensor.shape), names + 1)
    return scores


def _lies_under(prefix: str, under: str) -> bool:
    return written(prefix) == under or (bool(under) and prefix.startswith(f"{under}."))


def mismatch_message(wanted: Mapping[str, Tensor], fits: Sequence[Fit]) -> str | None:
    """Say why a network cannot be filled from these equally good fits, and what to do; None where it can."""
    fit = fits[0]
    if not fit.matched and not fit.reshaped:
        return (
            f"is of another architecture: none of its tensors ({some(fit.unexpected)}) has a name that the network "
            f"knows ({some(tuple(wanted))}); choose the model it was trained as"
        )
    strange = [name for name in fit.unexpected if _contradicts(name, wanted)]
    if fit.missing or strange or (fit.reshaped and not _one_layer(fit.reshaped)):
        return _another_architecture(wanted, fit, strange)
    if fit.reshaped:
        return _another_size(wanted, fit)
    return None


def _splits(key: str) -> list[tuple[str, str]]:
    """Return all ways to cut 'a.b.c' at a dot: ('', 'a.b.c'), ('a.', 'b.c'), ('a.b.', 'c')."""
    cuts = [0, *(i + 1 for i, character in enumerate(key) if character == ".")]
    return [(key[:cut], key[cut:]) for cut in cuts]


def _fit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str) -> Fit:
    under = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    matched = tuple(name for name in wanted if name in under and under[name].shape == wanted[name].shape)
    absent = [name for name in wanted if name not in under]
    filled = {_storage(wanted[name]) for name in matched}
    spared = tuple(n for n in absent if n.endswith("num_batches_tracked") or _storage(wanted[n]) in filled)
    return Fit(
        prefix=prefix,
        tensors=under,
        matched=matched,
        reshaped=tuple(name for name in wanted if name in under and under[name].shape != wanted[name].shape),
        missing=tuple(name for name in absent if name not in spared),
        spared=spared,
        unexpected=tuple(name for name in under if name not in wanted),
    )


def _storage(tensor: Tensor) -> tuple[object, ...]:
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _contradicts(name: str, wanted: Mapping[str, Tensor]) -> bool:
    """Tell another architecture (a further block in a stage) from an addition beside the network (an auxiliary head).

    An addition is a part of a new name at the top of the network.
    """
    top = name.split(".")[0]
    return top.isdigit() or top in {known.split(".")[0] for known in wanted}


def _one_layer(names: Sequence[str]) -> bool:
    return len({name.rpartition(".")[0] for name in names}) == 1


def _another_architecture(wanted: Mapping[str, Tensor], fit: Fit, strange: Sequence[str]) -> str:
    parts = [f"of the network's {len(wanted)} tensors {len(fit.matched)} fit"]
    if fit.missing:
        parts.append(f"{len(fit.missing)} are not in the file ({some(fit.missing)})")
    if fit.reshaped:
        shapes = [f"{name} {_shape(fit.tensors[name])} for {_shape(wanted[name])}" for name in fit.reshaped]
        parts.append(f"{len(fit.reshaped)} have another shape there ({some(shapes)})")
    if strange:
        parts.append(f"the file has {len(strange)} more ({some(strange)})")
    return f"is of another architecture: {', '.join(parts)}; choose the model it was trained as"


def _another_size(wanted: Mapping[str, Tensor], fit: Fit) -> str:
    """Name what differs where all tensors that do not fit belong to one layer."""
    name = fit.reshaped[0]
    ours = wanted[name].shape
    if classes := classes_there(wanted, fit):
        return f"was trained for {classes} classes and the network here has {ours[0]}"
    if channels := channels_there(wanted, fit):
        return f"was trained on images of {channels} channels and the network here takes {ours[1]}"
    return _another_architecture(wanted, fit, [])


def _differ(one: Fit, other: Fit) -> bool:
    return any(not one.tensors[name].equal(other.tensors[name]) for name in one.matched)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def some(names: Sequence[str]) -> str:
    """Return the first three names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
