"""Texts that a language model writes on after prompts, each drawn by a seed of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.models.causal_lm import CausalLM


@torch.no_grad()
def write_completions(
    network: CausalLM, prompts: Sequence[Tensor], seeds: Sequence[int], most: int, temperature: float, end: int | None
) -> list[Tensor]:
    """What the network, in evaluation mode, writes behind each prompt.

    Args:
        network: the language model.
        prompts: (P,) int64 token ids each, on its device.
        seeds: of each prompt; with the prompt it decides what is written, whatever else is in the batch.
        most: tokens of a completion.
        temperature: of the sampling; 0 takes the likeliest token each time.
        end: id of the token that ends a text; None where there is none.

    Returns:
        (C,) int64 each, C from 1 to `most`, with the end token where one was written.
    """
    from transformers import GenerationConfig

    longest, padding = max(map(len, prompts)), end or 0
    there = torch.stack([torch.arange(longest) >= longest - len(ids) for ids in prompts]).to(prompts[0].device)
    inputs = torch.full_like(there, padding, dtype=torch.long)
    inputs[there] = torch.cat(list(prompts))
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=most, do_sample=False, use_cache=True, pad_token_id=padding, eos_token_id=end
    )
    model: Any = network.model
    found = model.generate(
        input_ids=inputs,
        attention_mask=there.long(),
        generation_config=settings,
        logits_processor=[SeededSampling(seeds, temperature, network.tokens)],
    )
    return [_ended(row, end) for row in found[:, longest:]]


def _ended(tokens: Tensor, end: int | None) -> Tensor:
    """The tokens up to the first that ends a text, that one included."""
    ends = (tokens == end).nonzero().flatten() if end is not None else tokens[:0]
    return tokens[: int(ends[0]) + 1] if len(ends) else tokens


class SeededSampling:
    """Makes the largest of what it returns a draw from the softmax: each row's noise is drawn by its own seed.

    Args:
        seeds: of each row.
        temperature: what the logits are divided by; 0: the largest logit is taken, and nothing drawn.
        tokens: how many of the outputs are tokens; the others are never drawn.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, tokens: int) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature, self.tokens = temperature, tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(N, V) logits to (N, V) perturbed ones."""
        perturbed = torch.full_like(scores, -float("inf"), dtype=torch.float32)
        perturbed[:, : self.tokens] = scores[:, : self.tokens].float()
        if self.temperature == 0:
            return perturbed
        drawn = [torch.empty(self.tokens).exponential_(generator=generator) for generator in self.generators]
        noise = -torch.stack(drawn).log().to(scores.device)  # Gumbel's
        perturbed[:, : self.tokens] = perturbed[:, : self.tokens] / self.temperature + noise
        return perturbed
