"""Batches that a student writes itself: completions of the prompts it is shown, for its teacher to judge.

On-policy distillation (GKD, Agarwal et al., 2306.13649). A student that learns from given texts alone never sees how
its own mistakes go on. Which batches are written is a function of the seed and the step, and each text one of the seed,
the step and its sample, so that a resumed run writes the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill.data.language.encoded import IGNORED
from distill.data.tokens import PAD_TO
from distill.models.causal_lm import CausalLM
from distill.models.modes import evaluating
from distill.models.network import Network
from distill.models.writing import write_completions
from distill.seeding import derive_seed
from distill.types import Batch


@dataclass(frozen=True, slots=True)
class OnPolicy:
    """What of the training a student writes itself.

    fraction: share of the batches.
    max_new_tokens: of a completion, which ends before where the end token is written.
    temperature: of the sampling; that of the loss is the method's.
    end: id of the token that ends a text; None where there is none.
    seed: of both draws.
    """

    fraction: float
    max_new_tokens: int
    temperature: float
    end: int | None
    seed: int

    def __call__(self, batch: Batch, student: Network, step: int) -> Batch:
        """The batch, or what the student writes after its prompts.

        batch: of language modelling. student: a `CausalLM`. step: of the optimizer.
        """
        if derive_seed(self.seed, "on_policy", step) >= self.fraction * 2**32:
            return batch
        assert isinstance(student.backbone, CausalLM)
        prompts = list(prompts_of(batch))
        longest = max(len(ids) for _, ids in prompts)
        room = min(self.max_new_tokens, student.backbone.positions - longest)
        if room < 1:
            return batch
        indices = torch.arange(len(batch)) if batch.indices is None else batch.indices
        samples = [int(indices[row]) for row, _ in prompts]
        names = [f"{sample}/{samples[:place].count(sample)}" for place, sample in enumerate(samples)]
        seeds = [derive_seed(self.seed, "on_policy", step, name) for name in names]
        given = [ids for _, ids in prompts]
        with evaluating(student):
            written = write_completions(student.backbone, given, seeds, room, self.temperature, self.end)
        made = as_batch(list(zip(given, written, strict=True)), batch.device)
        return replace(made, indices=torch.tensor(samples), split=None, epoch=batch.epoch)


def prompts_of(batch: Batch) -> Iterator[tuple[int, Tensor]]:
    """Of each text with something to learn its row, and the tokens before the first that is to be learned: (P,) int64.

    Where several texts are packed in a row, positions begin at 0 in each.
    """
    assert not isinstance(batch.inputs, Tensor)
    ids, positions = batch.inputs["input_ids"], batch.inputs.get("position_ids")
    for row, learned in enumerate(batch.targets != IGNORED):
        starts = [0] if positions is None else (positions[row] == 0).nonzero().flatten().tolist()
        for start, end in zip(starts, [*starts[1:], ids.shape[1]], strict=True):
            first = learned[start:end].nonzero().flatten()
            if len(first):
                yield row, ids[row, start : start + int(first[0]) + 1]


def as_batch(texts: list[tuple[Tensor, Tensor]], device: torch.device) -> Batch:
    """Prompts with completions as a batch, of which the completions count: a text each, padded behind."""
    lengths = [len(prompt) + len(completion) - 1 for prompt, completion in texts]
    width = -(-max(lengths) // PAD_TO) * PAD_TO
    ids = torch.zeros(len(texts), width, dtype=torch.long, device=device)
    targets = torch.full_like(ids, IGNORED)
    for row, ((prompt, completion), length) in enumerate(zip(texts, lengths, strict=True)):
        ids[row, :length] = torch.cat([prompt, completion])[:-1]
        targets[row, len(prompt) - 1 : length] = completion
    there = torch.arange(width, device=device) < torch.tensor(lengths, device=device)[:, None]
    inputs = {"input_ids": ids, "attention_mask": there.long()}
    return Batch(inputs, targets, valid=targets != IGNORED, written=True)
