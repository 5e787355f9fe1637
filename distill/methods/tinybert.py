"""Hidden states and attention of transformers, layer by layer (TinyBERT, Jiao et al., 1909.10351).

    hidden    = mean over layers, tokens and dimensions of (student @ W - teacher)^2
    attention = mean over layers, heads and pairs of tokens of (Q K^T / sqrt(d) of the student - that of the teacher)^2

Shapes: tokens (N, T, D). W (D_student, D_teacher) is learned, one for all layers. Attention is compared before its
softmax, as in the paper; it is worked out of the queries and keys that are tapped, so that networks keep their fast
kernels. Queries and keys that are turned by their positions on the way (rotary embeddings) are seen before that. The
paper's third part, the soft cross-entropy of the predictions, is `kd` with temperature=1: 'method=[tinybert,kd]'.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.methods.base import Example, Method, Taps, not_negative
from distill.methods.tokens import attention_scores, by_head, counted_tokens, heads_of, paired_tokens
from distill.types import Batch, Outputs


class TinyBERT(Method):
    """Squared distances of hidden states and of attention scores.

    Args:
        student_layers, teacher_layers: blocks of transformers, taken in pairs.
        weight: of the hidden states' term.
        attention_weight: of the attention's.
        label_weight: of the labels' loss.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("stages",),
        teacher_layers: Sequence[str] = ("stages",),
        weight: float = 1.0,
        attention_weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.attention_weight = not_negative("attention_weight", attention_weight)
        blocks = Taps.of(student_layers, teacher_layers)
        self.taps = Taps(*(_with_attention(layers) for layers in (blocks.student, blocks.teacher)))

    def setup(self, example: Example) -> None:
        """Create W."""
        ours, theirs = paired_tokens(self, example.student, example.teacher)[0]
        self.heads = heads_of(self, example.student, example.teacher)
        self.projection = nn.Linear(ours.shape[-1], theirs.shape[-1])

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `hidden` and `attention`."""
        pairs = paired_tokens(self, student, teacher)
        layers = len(pairs) // 3
        hidden, queries, keys = pairs[:layers], pairs[layers : 2 * layers], pairs[2 * layers :]
        counts = counted_tokens(batch, hidden[0][0])
        states = [(self.projection(s) - t)[counts].square().mean() for s, t in hidden]
        both = (counts.unsqueeze(1) & counts.unsqueeze(2)).unsqueeze(1).expand(-1, self.heads, -1, -1)
        scores = []
        for of_queries, of_keys in zip(queries, keys, strict=True):
            ours, theirs = (
                attention_scores(by_head(q, self.heads), by_head(k, self.heads))
                for q, k in zip(of_queries, of_keys, strict=True)
            )
            scores.append((ours - theirs)[both].square().mean())
        return {"hidden": torch.stack(states).mean(), "attention": torch.stack(scores).mean()}

    def weight_of(self, term: str) -> float:
        """The attention's is its own."""
        return self.attention_weight if term == "attention" else super().weight_of(term)


def _with_attention(layers: Sequence[str]) -> tuple[str, ...]:
    """Blocks, then the layers in each that make queries, then those that make keys."""
    return (*layers, *(f"{layer}:query" for layer in layers), *(f"{layer}:key" for layer in layers))
