"""What a task may doubt of the outputs of a network that others are to learn from."""

from torch import Tensor

from distill.losses.logits import ruled_out


def softmax_doubt(role: str, logits: Tensor, *, trained: bool) -> str | None:
    """What is wrong with outputs, (N, C, *positions), that are probabilities, of which a second softmax leaves little.

    Logarithms of probabilities are as good as logits: their softmax gives them back.
    """
    masked = ruled_out(logits)
    logits = logits.masked_fill(masked, 0)
    if logits.shape[1] < 2 or bool((logits < 0).any()):
        return None
    if bool(((logits.sum(1) - 1).abs() < 0.01).all()):
        kind = "rows are not negative and sum to 1, so these are probabilities already (softmax)"
    elif trained and bool((masked | ((logits > 0) & (logits < 1))).all()):
        kind = "values lie between 0 and 1, so these are probabilities already (sigmoid)"
    else:
        return None
    return (
        f"{role}'s outputs: {kind}, and a second softmax leaves little of the differences between classes: let the "
        "network give what it has before its last softmax or sigmoid, or its logarithm"
    )
