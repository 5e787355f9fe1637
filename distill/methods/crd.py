"""Contrastive representation distillation (Tian, Krishnan and Isola, 1910.10699).

    loss = label_weight * CE(student, labels) + weight * sum_layers [NCE(e_s, bank_t) + NCE(e_t, bank_s)],
    NCE(e, bank) = mean_n [softplus(-s_nn) + sum_k softplus(s_nk)],  s_nm = e_n . bank_m / T - log Z - log(K / S)

e: linear embeddings of the features, of length 1. bank: running means of the embeddings of all S training samples. k
runs over K of them with another label. Z: mean of exp(e . bank / T) in the first batch, times S. The softplus are the
paper's -log h and -log(1 - h). The published code differs in that it draws negatives without replacement where it can,
and adds 1e-7 within the logarithms, which need none here.

Shapes: features (N, ...), flattened; banks (S, dim).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distill.devices import to_device
from distill.methods.base import Example, Method, Taps, positive
from distill.methods.contrast import Contrast, OtherClasses
from distill.types import Batch, Outputs


class CRD(Method):
    """A sample's two embeddings shall find each other among samples of other classes.

    Args:
        student_layers, teacher_layers: paired by position.
        dim: of the embeddings.
        negatives: samples of other classes that each is told from.
        momentum: share of the old mean that stays in the banks, below 1.
        temperature: divides the similarities; above 0.
        weight: of the contrastive term.
        label_weight: of the cross-entropy.
    """

    accepts_pooled = True
    needs_labels = True
    needs_logits = False
    seed: Tensor

    def __init__(
        self,
        student_layers: Sequence[str] = ("embedding",),
        teacher_layers: Sequence[str] = ("embedding",),
        dim: int = 128,
        negatives: int = 16384,
        momentum: float = 0.5,
        temperature: float = 0.07,
        weight: float = 0.8,
        label_weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        self.taps = Taps.of(student_layers, teacher_layers)
        self.dim, self.negatives = int(positive("dim", dim)), int(positive("negatives", negatives))
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}: must be at least 0 and below 1")
        self.momentum = momentum
        self.temperature = positive("temperature", temperature)

    def setup(self, example: Example) -> None:
        """Create embeddings and memory banks."""
        size = len(example.labels)
        self.other_classes = OtherClasses(example.labels)
        self.register_buffer("seed", torch.randint(2**31, ()))  # of what is drawn
        self.contrasts = nn.ModuleList(
            Contrast(s, t, size, self.dim, self.momentum, self.temperature)
            for s, t in self.pairs(example.student, example.teacher)
        )

    def compute_losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The term `crd`."""
        if batch.indices is None:
            raise ValueError(
                "crd: batch.indices is None, and its memory needs the samples' indices in the training data: let the "
                "loader give (images, targets, indices)"
            )
        indices = to_device(batch.indices, student.logits.device)
        noise = self.other_classes.draw(indices, self.negatives, self.seed, batch.epoch)
        pairs = zip(self.contrasts, self.pairs(student, teacher), strict=True)
        return {"crd": torch.stack([contrast(s, t, indices, noise) for contrast, (s, t) in pairs]).sum()}
