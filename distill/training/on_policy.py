"""Batches that a student writes itself: completions of the prompts it is shown, for its teacher to judge.

On-policy distillation (GKD, Agarwal et al., 2306.13649). A student that learns from given texts alone never sees how
its own mistakes go on. Which batches are written is a function of the seed and the step, and each text one of the seed,
the step and its sample, so that a resumed run writes the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.data.language.encoded import IGNORED
from distill.data.tokens import PAD_TO
from distill.models.causal_lm import CausalLM
from distill.models.modes import evaluating
from distill.models.network import Network
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
        written = self._completions(student, [ids for _, ids in prompts], seeds, room)
        return replace(as_batch(written, batch.device), indices=torch.tensor(samples), split=None, epoch=batch.epoch)

    def _completions(
        self, student: Network, prompts: list[Tensor], seeds: list[int], room: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Of each prompt (P,) int64 itself, and what is written behind it: (C,) int64, with the end token."""
        from transformers import GenerationConfig

        network: Any = student.backbone
        padding = self.end or 0
        longest = max(map(len, prompts))
        there = torch.stack([torch.arange(longest) >= longest - len(ids) for ids in prompts]).to(prompts[0].device)
        inputs = torch.full_like(there, padding, dtype=torch.long)
        inputs[there] = torch.cat(prompts)
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=room, do_sample=False, use_cache=True, pad_token_id=padding, eos_token_id=self.end
        )
        sampling = SeededSampling(seeds, self.temperature, network.tokens)
        with evaluating(student), torch.no_grad():
            found = network.model.generate(
                input_ids=inputs, attention_mask=there.long(), generation_config=settings, logits_processor=[sampling]
            )
        return [(ids, self._ended(row)) for ids, row in zip(prompts, found[:, longest:], strict=True)]

    def _ended(self, tokens: Tensor) -> Tensor:
        """The tokens up to the first that ends a text, that one included."""
        ends = (tokens == self.end).nonzero().flatten() if self.end is not None else tokens[:0]
        return tokens[: int(ends[0]) + 1] if len(ends) else tokens


class SeededSampling:
    """Makes the largest of what it returns a draw from the softmax: each row's noise is drawn by its own seed.

    Args:
        seeds: of each row.
        temperature: what the logits are divided by.
        tokens: how many of the outputs are tokens; the others are never drawn.
    """

    def __init__(self, seeds: list[int], temperature: float, tokens: int) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature, self.tokens = temperature, tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(N, V) logits to (N, V) perturbed ones."""
        drawn = [torch.empty(self.tokens).exponential_(generator=generator) for generator in self.generators]
        noise = -torch.stack(drawn).log().to(scores.device)  # Gumbel's
        perturbed = torch.full_like(scores, -float("inf"), dtype=torch.float32)
        perturbed[:, : self.tokens] = scores[:, : self.tokens].float() / self.temperature + noise
        return perturbed


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
