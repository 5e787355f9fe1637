"""A teacher that answers each question once: what it said is kept, and read from then on."""

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from distill.data.augment.color import to_float
from distill.errors import SettingError
from distill.methods import Composite, Method
from distill.models.network import Network
from distill.teachers import fingerprint
from distill.teachers.base import Teacher
from distill.teachers.lesson import Lesson, SplitName
from distill.teachers.record import DType, Layout
from distill.teachers.store import Manifest, Numbers, Plane, Store
from distill.types import Batch, Outputs

log = logging.getLogger(__name__)

GB = 1e9


class CachedTeacher(Teacher):
    """Answers from disk; where an answer is missing, the network gives it, and it is kept.

    The network runs on the whole batch if one sample of it is missing, so that it sees what a live teacher would see.
    What is returned is what was kept, also the first time: all runs get the same. Validation answers are kept in full,
    in float32, whatever is kept of the others.

    Args:
        network: the teacher; its parameters stop requiring gradients.
        lesson: what it is shown.
        dir: directory of all caches; this one's is named after what was asked of whom.
        top_k: keep so many classes, and the exact mass of the others at `temperatures`; None for all logits.
        temperatures: with `top_k`, those at which methods may soften.
        dtype: of what is kept.
        features: also keep what is tapped.
        max_gb: of all answers, in 10^9 bytes.
        validate: answers that are worked out again and compared when a cache is opened; 0 for none.

    Raises:
        ValueError: a setting out of its range.
    """

    network: Network

    def __init__(
        self,
        network: Network,
        lesson: Lesson,
        dir: str = "teacher_cache",  # noqa: A002  # as users set it
        top_k: int | None = None,
        temperatures: Sequence[float] = (1, 2, 3, 4, 5, 6, 8, 10),
        dtype: DType = "float32",
        features: bool = False,
        max_gb: float = 20.0,
        validate: int = 32,
    ) -> None:
        super().__init__(network.requires_grad_(False))
        classes = lesson.source.num_classes
        if top_k is not None and not 1 <= top_k <= classes:
            raise ValueError(f"top_k={top_k}: must be from 1 to the number of classes, {classes}")
        if not temperatures or min(temperatures) <= 0:
            raise ValueError(f"temperatures={list(temperatures)}: must be one or more numbers above 0")
        if max_gb <= 0:
            raise ValueError(f"max_gb={max_gb}: must be above 0")
        if validate < 0:
            raise ValueError(f"validate={validate}: must be zero or more")
        kept = tuple(map(float, temperatures)) if top_k is not None else ()
        self.lesson, self.root, self.features = lesson, Path(dir).expanduser(), features
        self.max_gb, self.validate = max_gb, validate
        self.layouts: dict[SplitName, Layout] = {"train": Layout(classes, dtype, top_k, kept), "val": Layout(classes)}
        self.store: Store | None = None
        self.passes = 0
        self._taps: tuple[str, ...] = ()
        self._planes: dict[tuple[SplitName, int], Plane] = {}
        self._asked: tuple[SplitName, int] | None = None
        self._keeping = True
        self.eval()

    # ------------------------------------------------------------------------------------------ what it can do

    def check(self, method: Method) -> None:
        """Before anything is trained.

        Raises:
            SettingError: the method needs what is not kept, or all answers take more than `max_gb`.
        """
        layout = self.layouts["train"]
        for member in method.members if isinstance(method, Composite) else [method]:
            name = type(member).__name__
            if member.taps.teacher and not self.features:
                raise SettingError(
                    f"teaching.features=false: {name} needs layers of the teacher ({', '.join(member.taps.teacher)}); "
                    "keep them with teaching.features=true, or use teaching=live"
                )
            if layout.top_k is not None:
                _check_sparse(member, name, layout)
        source = self.lesson.source
        skips = getattr(source.train, "skip", False)
        if skips and self.lesson.augment.mixes:
            raise SettingError(
                "data.on_error=skip: with mixup or cutmix, what takes the place of a broken image has no name of its "
                "own; use data.on_error=stop, or teaching=live"
            )
        self._check_size()

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the network, to be kept beside its logits.

        Raises:
            SettingError: features are not kept.
        """
        if not self.features:
            raise SettingError(
                f"teaching.features=false: layers of the teacher are asked for ({', '.join(patterns)}); "
                "keep them with teaching.features=true, or use teaching=live"
            )
        found = self.network.tap(patterns)
        self._taps = tuple(dict.fromkeys((*self._taps, *found)))
        return found

    # ------------------------------------------------------------------------------------------ answering

    def attend(self, split: SplitName, epoch: int) -> None:
        """Look up the split's answers for what the epoch shows; the first time, open the cache."""
        asked = split, self.lesson.shown(epoch) if split == "train" else 0
        if asked == self._asked:
            return
        self._asked = asked
        if self.store is None:
            self.open()
        self._plane(*asked).read_ahead()

    def answer(self, batch: Batch) -> Outputs:
        """What was kept; from the network, where something is missing or nothing was said of what the batch is."""
        if self._asked is None:
            return self._ask(batch)
        if batch.indices is None:
            raise SettingError("teaching=cached: batches must have indices, by which answers are kept")
        layout, plane = self.layouts[self._asked[0]], self._plane(*self._asked)
        rows = batch.indices.cpu().numpy()
        kept, there = plane.read(rows)
        if not there.all():
            fresh = layout.encode(self._ask(batch))
            for name, values in fresh.items():
                kept[name][~there] = values[~there]
            self._keep(plane, rows[~there], {name: values[~there] for name, values in kept.items()})
        return layout.decode(kept, batch.images.device)

    def missing(self, split: SplitName, epoch: int) -> Numbers:
        """Indices of the samples whose answers are not there, in order."""
        wanted = self.lesson.samples.numpy() if split == "train" else np.arange(self.lesson.sizes["val"])
        missing: Numbers = wanted[~self._plane(split, epoch).written()[wanted]]
        return missing

    def _ask(self, batch: Batch) -> Outputs:
        self.passes += 1
        outputs: Outputs = self.network(batch.images)
        return outputs

    def _keep(self, plane: Plane, rows: Numbers, answers: dict[str, np.ndarray]) -> None:
        if not self._keeping:
            return
        try:
            plane.write(rows, answers)
        except OSError as error:
            self._keeping = False
            log.warning(
                "teaching.dir=%s: cannot be written (%s); from here on, answers are not kept. What is there is whole, "
                "and the next run goes on with it",
                self.root,
                error.strerror,
            )

    @property
    def keeping(self) -> bool:
        """Whether answers are still written: not after the disk was full."""
        return self._keeping

    def _plane(self, split: SplitName, epoch: int) -> Plane:
        assert self.store is not None
        if (split, epoch) not in self._planes:
            latest = [place for place in self._planes if place[0] != split][-1:]
            self._planes = {place: self._planes[place] for place in latest}  # an epoch's maps are let go with it
            self._planes[split, epoch] = self.store.plane(split, epoch)
        return self._planes[split, epoch]

    # ------------------------------------------------------------------------------------------ opening

    def open(self) -> None:
        """Find or make the cache; say how large it is and how long filling it takes; compare a few of its answers.

        Raises:
            SettingError: it cannot be made, would be too large, or holds answers that the teacher does not give.
        """
        if self._taps:
            example = self.lesson.source.train.show(torch.arange(1))
            outputs = self.network(to_float(example).to(self._device))
            shapes = tuple((name, tuple(outputs.features[name].shape[1:])) for name in self._taps)
            train = self.layouts["train"]
            self.layouts["train"] = Layout(train.classes, train.dtype, train.top_k, train.temperatures, shapes)
        self._check_size()
        about = fingerprint.asked(self.network, self.lesson, self.layouts["train"])
        fields = {split: layout.fields for split, layout in self.layouts.items()}
        rows = {split: size for split, size in self.lesson.sizes.items()}
        self.store = Store(self.root, Manifest(fingerprint.key(about), about, {**fields}, {**rows}))
        try:
            self.store.open()
        except OSError as error:
            raise SettingError(f"teaching.dir={self.root}: cannot be written ({error.strerror})") from error
        if _first_process():
            self._announce()
            self._compare()

    @property
    def wanted_bytes(self) -> int:
        """What all answers of this run take."""
        lesson, (train, val) = self.lesson, (self.layouts[split].row_bytes for split in ("train", "val"))  # type: ignore[index]
        return len(lesson.samples) * lesson.distinct_epochs * train + lesson.sizes["val"] * val

    def describe(self) -> str:
        """Size and contents: '19.3 MB for 50,000 samples x 4 epochs, top-50 of 100 classes'."""
        layout, lesson = self.layouts["train"], self.lesson
        kept = "all logits" if layout.top_k is None else f"top-{layout.top_k}"
        also = f", and {', '.join(name for name, _ in layout.features)}" if layout.features else ""
        epochs = f" x {lesson.distinct_epochs} epochs" if lesson.distinct_epochs > 1 else ""
        return (
            f"{in_bytes(self.wanted_bytes)} for {len(lesson.samples):,} samples{epochs}, "
            f"{kept} of {layout.classes} classes in {layout.dtype}{also}"
        )

    def _check_size(self) -> None:
        if self.wanted_bytes > self.max_gb * GB:
            raise SettingError(
                f"teaching.max_gb={self.max_gb:g}: the teacher's answers take {self.describe()}; allow more, or keep less "
                "with teaching.top_k, teaching.dtype=float16 or teaching.epochs"
            )

    def _announce(self) -> None:
        assert self.store is not None
        epochs = self.lesson.distinct_epochs
        missing = sum(len(self.missing("train", epoch)) for epoch in range(epochs)) + len(self.missing("val", 0))
        total = len(self.lesson.samples) * epochs + self.lesson.sizes["val"]
        told = f"teacher's answers: {self.describe()}, in {self.store.directory}"
        if missing:
            seconds = self._seconds_per_sample() * missing
            told += f"; {1 - missing / total:.0%} are there, the others take the teacher about {seconds:.0f} s"
        else:
            told += "; all there"
        print(told, flush=True)
        log.info(told)

    def _seconds_per_sample(self) -> float:
        images = to_float(self.lesson.source.train.show(self.lesson.samples[: self.lesson.batch_size])).to(self._device)
        for _ in range(2):  # the first warms up
            start = time.perf_counter()
            self.network(images).logits.sum().item()
        return (time.perf_counter() - start) / len(images)

    def _compare(self) -> None:
        """Work some answers out again."""
        assert self.store is not None
        planes = [(split, epoch) for split, epoch in self._places() if self.validate]
        chances = np.random.default_rng()
        if not planes:
            return
        split, epoch = planes[chances.integers(len(planes))]
        plane, layout = self._plane(split, epoch), self.layouts[split]
        there = plane.written().nonzero()[0]
        rows = chances.permutation(there)[: self.validate]
        kept, whole = plane.read(rows)
        rows, kept = rows[whole], {name: values[whole] for name, values in kept.items()}
        wrong, place = 0, 0
        for batch in self.lesson.batches(split, epoch, torch.from_numpy(rows), self._device):
            chosen = slice(place, place := place + len(batch.images))
            fresh = layout.encode(self.network(batch.images))
            wrong += differing({name: values[chosen] for name, values in kept.items()}, fresh, layout, self.lesson)
        if wrong:
            raise SettingError(
                f"teaching.dir={self.root}: {wrong} of {len(rows)} answers in {self.store.directory.name} are not what "
                f"the teacher says now; delete them with `python scripts/cache_teacher.py prune "
                f"{self.store.directory.name} --dir {self.root}`"
            )

    def _places(self) -> list[tuple[SplitName, int]]:
        """Splits and epochs of which there are answers."""
        assert self.store is not None
        epochs: list[tuple[SplitName, int]] = [("train", epoch) for epoch in range(self.lesson.distinct_epochs)]
        return [place for place in (*epochs, ("val", 0)) if self.store.plane(*place).written().any()]  # type: ignore[misc]

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))


def differing(kept: dict[str, np.ndarray], fresh: dict[str, np.ndarray], layout: Layout, lesson: Lesson) -> int:
    """How many samples' kept answers are not those of now, beyond what rounding and another batch or device explain."""
    few_bits = layout.dtype != "float32" or not lesson.precision.startswith("32")
    tolerance = 0.05 if few_bits else 1e-3
    device = torch.device("cpu")
    said = [layout.decode(rows, device) for rows in (kept, fresh)]
    values = [o.logits if o.top_k is None else o.top_k.values for o in said]
    bad = (values[0] - values[1]).abs().amax(1) > tolerance * values[1].abs().amax(1).clamp_min(1)
    for name, _ in layout.features:
        theirs, ours = (o.features[name].flatten(1) for o in said)
        bad |= (theirs - ours).abs().amax(1) > tolerance * ours.abs().amax(1).clamp_min(1e-3)
    return int(bad.sum())


def in_bytes(count: float) -> str:
    """'19.3 MB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


def _check_sparse(method: Method, name: str, layout: Layout) -> None:
    kept = f"teaching.top_k={layout.top_k}: "
    if not method.accepts_top_k:
        raise SettingError(f"{kept}{name} needs all logits; leave teaching.top_k=null")
    if method.standardize_logits:
        raise SettingError(f"{kept}logits cannot be standardised without all of them; leave teaching.top_k=null")
    if "temperature" in method.schedules:
        raise SettingError(f"{kept}the temperature of {name} follows a schedule, and the others' mass is known at "
                           "a few only; leave teaching.top_k=null")  # fmt: skip
    temperature = float(getattr(method, "temperature", 1.0))
    if temperature not in layout.temperatures:
        known = ", ".join(f"{t:g}" for t in layout.temperatures)
        raise SettingError(
            f"teaching.temperatures=[{known}]: the temperature of {name} is {temperature:g}, where the mass of the "
            "classes that are not kept is not known; add it"
        )


def _first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
