"""The cosine between hidden states of the last block (DistilBERT, Sanh et al., 1910.01108).

    hidden_cosine = mean over layers and tokens of 1 - cos(student, teacher)

Shapes: tokens (N, T, D). Both networks are of one width, as a student that copies layers of its teacher is. The paper's
loss adds the softened predictions and the labels: 'method=[hidden_cosine,kd]'.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distill.methods.base import Example, Method, Taps
from distill.methods.tokens import counted_tokens, paired_tokens
from distill.types import Batch, Outputs


class HiddenCosine(Method):
    """One minus the cosine of tokens.

    Args:
        student_layers, teacher_layers: blocks of transformers, taken in pairs.
        weight: of the term.
        label_weight: of the labels' loss.
    """

    needs_logits = False

    def __init__(
        self,
        student_layers: Sequence[str] = ("last_stage",),
        teacher_layers: Sequence[str] = ("last_stage",),
        weight: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)

    def setup(self, example: Example) -> None:
        """See that both networks are of one width."""
        for ours, theirs in paired_tokens(self, example.student, example.teacher):
            if ours.shape[-1] != theirs.shape[-1]:
                raise ValueError(
                    f"HiddenCosine: the student's hidden states are of width {ours.shape[-1]}, the teacher's of "
                    f"{theirs.shape[-1]}; must be one: copy layers with student.layers, or choose tinybert or minilm"
                )

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `hidden_cosine`."""
        terms = []
        for ours, theirs in paired_tokens(self, student, teacher):
            counts = counted_tokens(batch, ours)
            terms.append((1 - F.cosine_similarity(ours[counts], theirs[counts], dim=-1)).mean())
        return {"hidden_cosine": torch.stack(terms).mean()}
