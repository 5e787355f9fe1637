"""Relations of queries, keys and values in the last block (MiniLM, Wang et al., 2002.10957).

    attention = mean over heads and tokens of KL(softmax(Q K^T / sqrt(d)) of the teacher || that of the student)
    values    = the same of softmax(V V^T / sqrt(d))

Shapes: queries, keys and values (N, T, D), D of each network's own. Heads may be cut anew, into as many in both
networks (2012.15828). Student and teacher may be of different widths: what is compared are relations between tokens.
Queries and keys that are turned by their positions (rotary embeddings) are seen before that.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Example, Method, Taps
from distill.methods.tokens import attention_scores, by_head, counted_tokens, heads_of, paired_tokens
from distill.types import Batch, Outputs


class MiniLM(Method):
    """Divergences of attention and of the values' relations.

    Args:
        student_layers, teacher_layers: one block of each network.
        heads: into which queries, keys and values are cut; None: the networks' own, which must be as many.
        weight: of both terms.
        label_weight: of the labels' loss.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        heads: int | None = None,
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if heads is not None and heads < 1:
            raise ValueError(f"heads={heads}: must be 1 or more, or null for the networks' own")
        self.heads = heads
        blocks = Taps.of(student_layers, teacher_layers)
        self.taps = Taps(*(_parts_of(layers) for layers in (blocks.student, blocks.teacher)))

    def setup(self, example: Example) -> None:
        """See that both can be cut into so many heads."""
        paired_tokens(self, example.student, example.teacher)
        self.heads = heads_of(self, example.student, example.teacher, self.heads)

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The terms `attention` and `values`."""
        assert self.heads is not None
        pairs = paired_tokens(self, student, teacher)
        counts = counted_tokens(batch, pairs[0][0])
        ours, theirs = ([by_head(pair[side], self.heads) for pair in pairs] for side in (0, 1))
        asked = {"attention": (0, 1), "values": (2, 2)}
        return {
            term: relation_divergence(
                attention_scores(ours[a], ours[b]), attention_scores(theirs[a], theirs[b]), counts
            )
            for term, (a, b) in asked.items()
        }


def relation_divergence(
    student: Float[Tensor, "n heads t t"], teacher: Float[Tensor, "n heads t t"], counts: Tensor
) -> Float[Tensor, ""]:
    """Mean over heads and tokens that count of KL(teacher || student), each a distribution over the tokens that count.

    student, teacher: scores before their softmax. counts: (N, T) bool.
    """
    elsewhere = ~counts[:, None, None, :]
    said, taught = (scores.masked_fill(elsewhere, -float("inf")).log_softmax(-1) for scores in (student, teacher))
    said, taught = (x.masked_fill(elsewhere, 0) for x in (said, taught))
    divergences = F.kl_div(said, taught, reduction="none", log_target=True).masked_fill(elsewhere, 0).sum(-1)
    return divergences.transpose(1, 2)[counts].mean()


def _parts_of(layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{layer}:{part}" for part in ("query", "key", "value") for layer in layers)
