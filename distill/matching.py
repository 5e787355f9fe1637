"""Which tensors of a file are those of a network: found by names and shapes, and said in words where they are not."""

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


def best_fits(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[Fit]:
    """Return the fit under the prefix with the most tensors of the right name and shape; several where that is open."""
    scores: dict[str, tuple[int, int]] = {"": (0, 0)}
    for key, tensor in tensors.items():
        for prefix, name in _splits(key):
            if name in wanted:
                shapes, names = scores.get(prefix, (0, 0))
                scores[prefix] = (shapes + (wanted[name].shape == tensor.shape), names + 1)
    best = max(scores.values())
    prefixes = [prefix for prefix, score in scores.items() if score == best]
    usual = [place for place in USUAL_PLACES if place in prefixes]
    return [_fit(wanted, tensors, prefix) for prefix in usual[:1] or prefixes]


def complaint(wanted: Mapping[str, Tensor], fits: Sequence[Fit]) -> str | None:
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
    others = [other.prefix for other in fits[1:] if _differ(fit, other)]
    if others:
        return (
            f"holds several networks that fit, under {', '.join(map(repr, [fit.prefix, *others]))}; "
            "save the one you mean in a file of its own"
        )
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
    theirs, ours = fit.tensors[name].shape, wanted[name].shape
    same_rank = len(theirs) == len(ours)
    if same_rank and theirs[1:] == ours[1:]:
        return (
            f"was trained for {theirs[0]} classes and the network here has {ours[0]}; give it data with "
            f"{theirs[0]} classes, or leave the checkpoint away and train anew"
        )
    if same_rank and name == next(iter(wanted)) and (theirs[0], theirs[2:]) == (ours[0], ours[2:]):
        return f"was trained on images of {theirs[1]} channels and the network here takes {ours[1]}"
    return _another_architecture(wanted, fit, [])


def _differ(one: Fit, other: Fit) -> bool:
    return any(not one.tensors[name].equal(other.tensors[name]) for name in one.matched)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def some(names: Sequence[str]) -> str:
    """Return the first three names, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
