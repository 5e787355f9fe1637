"""Contrastive learning (for crd): drawing negatives, and a memory bank of every sample's embedding."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from distill.processes import joined_over_processes
from distill.random import whole_numbers


class OtherClasses(nn.Module):
    """Draws samples with another label.

    Args:
        labels: (S,) int64, the class of every sample, by its index; -1 for those that are never drawn. Two classes or
            more.
    """

    order: Tensor
    labels: Tensor
    count: Tensor
    start: Tensor

    def __init__(self, labels: Int[Tensor, "s"]) -> None:
        super().__init__()
        drawn = (labels >= 0).nonzero().squeeze(1)
        count = labels[drawn].bincount()
        if len(drawn) == 0 or int(count.max()) == len(drawn):
            raise ValueError(
                f"labels: all {len(drawn)} training samples are of one class; contrasting needs two or more"
            )
        # Sorted by class, the samples of one class are a block that a draw can step over.
        order = drawn[labels[drawn].argsort()]
        derived = {"labels": labels, "order": order, "count": count, "start": count.cumsum(0) - count}
        for name, tensor in derived.items():
            self.register_buffer(name, tensor, persistent=False)

    def draw(self, indices: Int[Tensor, "n"], number: int, seed: Tensor, epoch: int) -> Int[Tensor, "n k"]:
        """For samples (N,), the indices (N, number) of samples of other classes, uniformly, with replacement.

        Each sample's are a function of seed, epoch and its index.
        """
        label = self.labels[indices].unsqueeze(1)
        own = self.count[label]
        place = whole_numbers(seed, epoch, indices, number) % (len(self.order) - own)
        return self.order[place + own * (place >= self.start[label])]


class MemoryBank(nn.Module):
    """Running means of embeddings, one of length 1 for each training sample; kept in checkpoints.

    Args:
        size: number of samples.
        dim: of the embeddings.
        momentum: share of the old mean that stays, at least 0 and below 1.
    """

    memory: Tensor
    log_z: Tensor

    def __init__(self, size: int, dim: int, momentum: float) -> None:
        super().__init__()
        bound = math.sqrt(3 / dim)  # length 1 on average
        self.register_buffer("memory", torch.empty(size, dim).uniform_(-bound, bound))
        self.register_buffer("log_z", torch.tensor(torch.nan))  # normaliser, fixed by the first step
        self.momentum = momentum

    def scores(
        self, embeddings: Float[Tensor, "n d"], columns: Int[Tensor, "n m"], temperature: float
    ) -> Float[Tensor, "n m"]:
        """(N, dim) embeddings and (N, M) samples -> (N, M) log-probabilities, normalised by the first step's mean.

        All S products and a choice of M take less memory than M chosen vectors for each of the N, as dim is large.
        """
        # A copy, because the memory changes before the backward pass comes to it.
        scores = (embeddings @ self.memory.clone().T).gather(1, columns) / temperature
        mean = scores.detach().flatten().logsumexp(0, keepdim=True) - math.log(scores.numel())
        means = joined_over_processes(mean)
        mean = means.logsumexp(0) - math.log(len(means))
        self.log_z.copy_(torch.where(self.log_z.isnan(), mean + math.log(len(self.memory)), self.log_z))
        return scores - self.log_z.clone()

    @torch.no_grad()
    def update(self, embeddings: Float[Tensor, "n d"], indices: Int[Tensor, "n"]) -> None:
        """Move the means of the samples (N,) towards their (N, dim) embeddings, those of all processes."""
        embeddings, indices = joined_over_processes(embeddings), joined_over_processes(indices)
        mean = self.momentum * self.memory[indices] + (1 - self.momentum) * embeddings
        self.memory[indices] = F.normalize(mean, dim=1)


class Contrast(nn.Module):
    """Embeds one layer of each network, and tells each sample by the other network's memory of it.

    Args:
        student, teacher: an example of the features, (N, ...).
        size: number of training samples.
        dim, momentum, temperature: as in `distill.methods.CRD`.
    """

    def __init__(
        self,
        student: Float[Tensor, "n ..."],
        teacher: Float[Tensor, "n ..."],
        size: int,
        dim: int,
        momentum: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self.embed_student = nn.Linear(student.flatten(1).shape[1], dim)
        self.embed_teacher = nn.Linear(teacher.flatten(1).shape[1], dim)
        self.student_bank = MemoryBank(size, dim, momentum)
        self.teacher_bank = MemoryBank(size, dim, momentum)
        self.temperature = temperature

    def forward(
        self,
        student: Float[Tensor, "n ..."],
        teacher: Float[Tensor, "n ..."],
        indices: Int[Tensor, "n"],
        noise: Int[Tensor, "n k"],
    ) -> Float[Tensor, ""]:
        """The loss of samples (N,) against others (N, K), for features (N, ...); in training the banks learn too."""
        mine = F.normalize(self.embed_student(student.flatten(1)), dim=1)
        theirs = F.normalize(self.embed_teacher(teacher.flatten(1)), dim=1)
        columns = torch.cat([indices.unsqueeze(1), noise], dim=1)
        size = len(self.student_bank.memory)
        loss = noise_contrastive(self.teacher_bank.scores(mine, columns, self.temperature), size)
        loss = loss + noise_contrastive(self.student_bank.scores(theirs, columns, self.temperature), size)
        if self.training:
            self.student_bank.update(mine, indices)
            self.teacher_bank.update(theirs, indices)
        return loss


def noise_contrastive(scores: Float[Tensor, "n m"], size: int) -> Float[Tensor, ""]:
    """Mean over N of the loss of telling a sample from K noise samples, drawn uniformly from `size`.

    scores: (N, 1 + K) log-probabilities, the sample's own first.
    """
    logits = scores - math.log((scores.shape[1] - 1) / size)
    return (F.softplus(-logits[:, :1]).sum() + F.softplus(logits[:, 1:]).sum()) / len(logits)
