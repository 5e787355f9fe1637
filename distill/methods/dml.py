"""Deep mutual learning: networks of one kind, trained together, teach each other (Zhang et al., 1706.00384).

    loss = sum over networks i of [label_weight * CE(i, labels) + weight * mean over others j of KL(j || i)]

KL is that of the softmaxes; each takes the others' answers as given. The networks are the student and its peers, which
start from other weights: the student's own, shuffled within each tensor, and so drawn from the same distributions. One
step moves all of them on the same answers, where the paper moves them in turn. The student is the one that is validated
and saved.

Shapes: logits (N, C) or (N, C, *positions).
"""

import copy

import torch
from torch import Tensor, nn

from distill.losses import kl_divergence
from distill.methods.base import Method, positive
from distill.methods.terms import LossTerms
from distill.types import Batch, Outputs


class DML(Method):
    """Peers that learn beside the student; needs no teacher and ignores one that is given.

    Args:
        peers: networks beside the student, 1 or more.
        temperature: of the KL; the paper has none.
        weight: of the KL terms.
        label_weight: of the cross-entropies.
    """

    needs_teacher = False

    def __init__(
        self, peers: int = 1, temperature: float = 1.0, weight: float = 1.0, label_weight: float = 1.0
    ) -> None:
        super().__init__(weight=weight, label_weight=label_weight)
        if peers < 1:
            raise ValueError(f"peers={peers}: must be 1 or more")
        self.number = peers
        self.temperature = positive("temperature", temperature)

    def setup_student(self, student: nn.Module) -> None:
        """Create the peers."""
        self.peers = nn.ModuleList(_redrawn(student) for _ in range(self.number))

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> LossTerms:
        """The terms `ce` and `dml` of the student, `peers_ce` and `peers_dml` summed over the peers."""
        answers = [student, *(peer(batch.inputs) for peer in self.peers)]
        with torch.autocast(student.logits.device.type, enabled=False):
            places = self.places(student, batch)
            mutual = self._mutual([self.prepare_outputs(answer, places).logits for answer in answers])
            labels = [self.label_terms(answer, batch) for answer in answers]
        terms = labels[0] | {"dml": mutual[0], "peers_dml": torch.stack(mutual[1:]).sum()}
        if labels[0]:
            terms["peers_ce"] = torch.stack([label["ce"] for label in labels[1:]]).sum()
        return LossTerms.weigh(terms, self.weight_of)

    def weight_of(self, term: str) -> float:
        """A peer's terms count as the student's."""
        return super().weight_of(term.removeprefix("peers_"))

    def _mutual(self, logits: list[Tensor]) -> list[Tensor]:
        """For each network the mean of its KL from the others, a scalar each."""
        return [
            torch.stack(
                [
                    kl_divergence(own, other.detach(), temperature=self.temperature)
                    for j, other in enumerate(logits)
                    if j != i
                ]
            ).mean()
            for i, own in enumerate(logits)
        ]


def _redrawn(network: nn.Module) -> nn.Module:
    """A copy with each parameter's values in another order."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            values = parameter.flatten()
            parameter.copy_(values[torch.randperm(len(values), device=values.device)].view_as(parameter))
    return other
