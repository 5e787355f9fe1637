"""Compares kept outputs with what the teacher predicts now."""

import time

import numpy as np
import torch
from torch import Tensor

from distill.data.batches import Batches
from distill.inputs import inputs_to
from distill.losses import Projection
from distill.losses.logits import gap
from distill.models.network import Network
from distill.teachers.array_file import Numbers
from distill.teachers.inputs import TeacherInputs
from distill.teachers.record import Layout
from distill.teachers.store import AnswerTable
from distill.types import Outputs

# What other batches, other devices and few bits explain, as a share of the largest value.
EXACT, ROUNDED = 1e-3, 0.05


def count_disagreements(
    table: AnswerTable,
    rows: Numbers,
    network: Network,
    batches: Batches,
    layout: Layout,
    precise: bool,
    head: Projection | None = None,
) -> int:
    """How many of some rows are not what the network says of the same images, beyond rounding.

    Args:
        table, rows: what is kept.
        network: the teacher.
        batches: these rows' images, in the same order; images that cannot be read are left out.
        layout: how answers are kept.
        precise: whether the network works in float32.
        head: of a language model, any answer of it.
    """
    kept, there = table.read(rows)
    place_of = {row: place for place, row in enumerate(rows.tolist()) if there[place]}
    tolerance = EXACT if precise and layout.dtype == "float32" else ROUNDED
    wrong = 0
    for batch in batches:
        assert batch.indices is not None
        pairs = [(place_of[row], i) for i, row in enumerate(batch.indices.tolist()) if row in place_of]
        if pairs:
            fresh = layout.encode(network(batch.inputs), batch.valid)
            old, new = (np.array(places) for places in zip(*pairs, strict=True))
            then, now = (
                layout.decode({name: values[places] for name, values in answers.items()}, torch.device("cpu"), head)
                for answers, places in ((kept, old), (fresh, new))
            )
            wrong += int(_differ(then, now, tolerance).sum())
    return wrong


def _differ(then: Outputs, now: Outputs, tolerance: float) -> Tensor:
    """(n,) bool."""
    pairs = [(_logits(then), _logits(now)), *((then.features[name], now.features[name]) for name in now.features)]
    differ = [~(gap(a, b, least=1) <= tolerance) for a, b in pairs]
    return torch.stack(differ).any(0)


def _logits(outputs: Outputs) -> Tensor:
    """All of them, or those of the likeliest classes: at equal logits, which class is named is a matter of chance. Of a
    language model the hidden states."""
    if outputs.projection is not None:
        return outputs.projection.hidden
    return outputs.logits if outputs.top_k is None else outputs.top_k.values


def seconds_per_sample(network: Network, inputs: TeacherInputs, device: torch.device) -> float:
    """How long a network takes for one of the samples of a training step."""
    samples = inputs.samples[: inputs.batch_size]
    shown = inputs_to(inputs.source.train.inputs(samples), device)
    for _ in range(2):  # the first warms up
        start = time.perf_counter()
        network(shown).logits.sum().item()
    return (time.perf_counter() - start) / len(samples)
