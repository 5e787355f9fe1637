"""A teacher whose outputs are computed once, kept on disk, and read from then on."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from distill.devices import tf32_on
from distill.errors import SettingError
from distill.inputs import Inputs, first_tensor
from distill.losses import Projection
from distill.methods import Method
from distill.models.frozen import freeze
from distill.models.network import Network
from distill.processes import process_and_count
from distill.teachers import fingerprint
from distill.teachers.array_file import Numbers
from distill.teachers.base import Teacher
from distill.teachers.comparison import count_disagreements, seconds_per_sample
from distill.teachers.inputs import TeacherInputs
from distill.teachers.record import DType, Layout, in_bytes
from distill.teachers.requirements import Features, check_method
from distill.teachers.run_tables import RunTables
from distill.teachers.store import AnswerTable, Manifest, Store
from distill.types import Batch, Outputs, SplitName

log = logging.getLogger(__name__)

GB = 1e9


class CachedTeacher(Teacher):
    """Answers from disk; where an answer is missing, the network gives it, and it is kept.

    The network runs on the whole batch if one sample of it is missing, so that it sees what a live teacher would see.
    What is returned is what was kept, also the first time: all runs get the same. Validation answers are kept in full,
    in float32, whatever is kept of the others.

    Args:
        network: the teacher; its parameters stop requiring gradients.
        inputs: what it is shown.
        dir: directory of all caches; this one's is named after what was asked of whom.
        top_k: keep so many classes, and the exact mass of the others at `temperatures`; None for all logits.
        temperatures: with `top_k`, those at which methods may soften.
        dtype: of what is kept.
        features: also keep what is tapped; 'pooled': its means over positions, which methods are then given.
        max_gb: of all answers, in 10^9 bytes.
        validate: answers that are worked out again and compared when a cache is opened; 0 for none.

    Attributes:
        passes: how many batches had something missing.

    Raises:
        ValueError: a setting out of its range.
    """

    network: Network
    keeps_answers = True

    def __init__(
        self,
        network: Network,
        inputs: TeacherInputs,
        dir: str = "teacher_cache",
        top_k: int | None = None,
        temperatures: Sequence[float] = (1, 2, 3, 4, 5, 6, 8, 10),
        dtype: DType = "float32",
        features: Features = False,
        max_gb: float = 20.0,
        validate: int = 32,
    ) -> None:
        super().__init__(network.requires_grad_(False))
        classes = inputs.source.num_classes
        if top_k is not None and not 1 <= top_k <= classes:
            raise ValueError(f"top_k={top_k}: must be from 1 to the number of classes, {classes}")
        if top_k is not None and "exclusive classes" not in inputs.source.task.traits:
            task = inputs.source.task.name
            raise ValueError(f"top_k={top_k}: needs exclusive classes, which {task} data has not; must be null")
        if not temperatures or min(temperatures) <= 0:
            raise ValueError(f"temperatures={list(temperatures)}: must be one or more numbers above 0")
        if features not in (False, True, "pooled"):
            raise ValueError(f"features={features!r}: must be true, false or pooled")
        if max_gb <= 0:
            raise ValueError(f"max_gb={max_gb}: must be above 0")
        if validate < 0:
            raise ValueError(f"validate={validate}: must be zero or more")
        kept = tuple(map(float, temperatures)) if top_k is not None else ()
        self.inputs, self.root, self.features = inputs, Path(dir).expanduser(), features
        self.max_gb, self.validate = max_gb, validate
        positions = inputs.positions("train")
        layout = Layout(classes, dtype, top_k, kept, pooled=features == "pooled", positions=positions or ())
        validation = Layout(classes, positions=inputs.positions("val") or ())
        self.layouts: dict[SplitName, Layout] = {"train": layout, "val": validation}
        self.passes = 0
        self._taps: tuple[str, ...] = ()
        self._head: Projection | None = None  # an answer of a language model, for its output layer
        if inputs.source.longest is not None or positions is None:
            self._look()
        self._tables: RunTables | None = None  # until the cache is opened
        self._keeping = True
        self.eval()

    # ------------------------------------------------------------------------------------------ what it can do

    def check(self, method: Method) -> None:
        """Before anything is trained.

        Raises:
            SettingError: the method needs what is not kept, all answers take more than `max_gb`, or there is no
                place for them.
        """
        if not self.network.comparable:
            raise SettingError(
                "teaching=cached: keeps logits of the data's classes, and the teacher has others; choose them with "
                "teacher.classes, or use teaching=live"
            )
        check_method(method, self.layouts["train"], self.features)
        if self.features == "pooled" and self.inputs.source.longest is not None:
            noun, fault = self.inputs.source.noun, "averages over the padding of texts too"
            raise SettingError(f"teaching.features=pooled: {fault}; must be true or false for {noun}")
        if getattr(self.inputs.source.train, "skip", False) and self.inputs.augment.mixes:
            raise SettingError(
                "data.on_error=skip: with mixup or cutmix, what takes the place of a broken image has no name of its "
                "own; use data.on_error=stop, or teaching=live"
            )
        self._check_size()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SettingError:
        return SettingError(f"teaching.dir={self.root}: cannot be written ({error.strerror})")

    def tap(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Capture layers of the network, to be kept beside its logits.

        Raises:
            SettingError: features are not kept.
        """
        patterns = tuple(patterns)
        if patterns and not self.features:
            raise SettingError(
                f"teaching.features=false: layers of the teacher are asked for ({', '.join(patterns)}); "
                "keep them with teaching.features=true, or use teaching=live"
            )
        found = self.network.tap(patterns)
        self._taps = tuple(dict.fromkeys((*self._taps, *found)))
        return found

    def optimize_for_inference(self, inputs: Inputs, precision: str) -> None:
        """Ask a frozen copy from now on; its answers have a key of their own."""
        self.network, self.form = freeze(self.network, inputs, precision)

    @torch.no_grad()
    def _look(self) -> None:
        """See by a sample what there is to keep: hidden states of a text, logits of a detector, layers tapped."""
        outputs = self._ask(self.inputs.first("train", self._device))
        self._head = outputs.projection
        train, longest = self.layouts["train"], self.inputs.source.longest
        found = train.pooled_outputs(outputs).features
        shapes = tuple((name, tuple(found[name].shape[1:])) for name in self._taps)
        if longest is not None:
            for name, shape in shapes:
                if len(shape) > 2:
                    raise SettingError(
                        f"teaching.features=true: {name} gives {' x '.join(map(str, shape))} numbers, which change "
                        "with the longest text of a batch, so that they are not kept; use teaching=live"
                    )
            shapes = tuple((name, (longest, *shape[1:]) if len(shape) == 2 else shape) for name, shape in shapes)
        hidden = None if outputs.projection is None else outputs.projection.hidden.shape[-1]
        val = self.layouts["val"]
        if self.inputs.positions("train") is None:
            train, val = train.of_logits(outputs), val.of_logits(self._ask(self.inputs.first("val", self._device)))
        self.layouts["train"] = replace(train, features=shapes, hidden=hidden, longest=longest)
        self.layouts["val"] = replace(val, hidden=hidden, longest=longest)

    # ------------------------------------------------------------------------------------------ answering

    def predict(self, batch: Batch) -> Outputs:
        """What was kept; from the network, where something is missing or the batch is of neither split."""
        if batch.split is None:
            return self.layouts["train"].pooled_outputs(self._ask(batch))
        if batch.indices is None:
            raise SettingError("teaching=cached: batches must have indices, by which answers are kept")
        table = self.open().for_epoch(batch.split, batch.epoch)
        layout = self.layouts[batch.split]  # known in full once the cache is open
        rows = batch.indices.numpy()
        kept, there = table.read(rows)
        if not there.all():
            self.passes += 1
            fresh = layout.encode(self._ask(batch), batch.valid)
            for name, values in fresh.items():
                kept[name][~there] = values[~there]
            self._keep(table, rows[~there], {name: values[~there] for name, values in kept.items()})
        width = None if layout.longest is None else first_tensor(batch.inputs).shape[1]
        answers = layout.decode(kept, batch.device, self._head, width)
        features = {name: self.network.arrange(feature) for name, feature in answers.features.items()}
        return dataclasses.replace(answers, features=features, layouts=self.network.layouts)

    def _ask(self, batch: Batch) -> Outputs:
        outputs: Outputs = self.network(batch.inputs)
        return outputs

    def _keep(self, table: AnswerTable, rows: Numbers, answers: dict[str, npt.NDArray[Any]]) -> None:
        if not self._keeping:
            return
        try:
            table.write(rows, answers)
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

    # ------------------------------------------------------------------------------------------ opening

    @torch.no_grad()
    def open(self) -> RunTables:
        """The cache's tables. The first time, find or make it, say its size and how long filling takes, compare a few.

        Raises:
            SettingError: it cannot be made, would be too large, or holds answers that the teacher does not give.
        """
        if self._tables is not None:
            return self._tables
        if self._taps or self.inputs.source.longest is not None:
            self._look()
        self._check_size()
        about = fingerprint.asked(self.network, self.inputs, self.layouts["train"])
        fields = {str(split): layout.fields for split, layout in self.layouts.items()}
        store = Store(self.root, Manifest(fingerprint.key(about), about, fields, self.inputs.sizes))
        try:
            store.open()
        except OSError as error:
            raise self._unwritable(error) from error
        self._tables = RunTables(store, self.inputs)
        if process_and_count()[0] == 0:
            self._announce(self._tables)
            self._compare(self._tables)
        return self._tables

    @property
    def wanted_bytes(self) -> int:
        """What all answers of this run take."""
        inputs, rows = self.inputs, {split: layout.row_bytes for split, layout in self.layouts.items()}
        return len(inputs.samples) * inputs.distinct_epochs * rows["train"] + inputs.sizes["val"] * rows["val"]

    def describe(self) -> str:
        """Size and contents: '19.3 MB for 50,000 samples x 4 epochs, top-50 of 100 classes'."""
        epochs = f" x {self.inputs.distinct_epochs} epochs" if self.inputs.distinct_epochs > 1 else ""
        samples = f"{in_bytes(self.wanted_bytes)} for {len(self.inputs.samples):,} samples{epochs}"
        return f"{samples}, {self.layouts['train'].in_words()}"

    def _check_size(self) -> None:
        if self.wanted_bytes > self.max_gb * GB:
            raise SettingError(
                f"teaching.max_gb={self.max_gb:g}: the teacher's answers take {self.describe()}; allow more, or "
                "keep less with teaching.top_k, teaching.dtype=float16 or teaching.epochs"
            )

    def _announce(self, tables: RunTables) -> None:
        told = f"teacher's answers: {self.describe()}, in {tables.store.directory}; "
        told += tables.in_words(lambda: seconds_per_sample(self.network, self.inputs, self._device))
        print(told, flush=True)
        log.info(told)

    def _compare(self, tables: RunTables) -> None:
        """Work a few answers of one split and epoch out again."""
        (split, epoch), rows = tables.drawn(self.validate)
        if not len(rows):
            return
        table = tables.table(split, epoch)
        images = self.inputs.batches(split, epoch, torch.from_numpy(rows), self._device)
        precise = self.inputs.precision.startswith("32") and not tf32_on(self._device)
        wrong = count_disagreements(table, rows, self.network, images, self.layouts[split], precise, self._head)
        if wrong:
            key = tables.store.directory.name
            raise SettingError(
                f"teaching.dir={self.root}: {wrong} of {len(rows)} answers in {key} are not what the teacher says now; "
                f"delete them with `python scripts/cache_teacher.py prune {key} --dir {self.root}`"
            )

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))
