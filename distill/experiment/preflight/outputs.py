"""Are a network's outputs logits, or probabilities already?"""

from torch import Tensor


def outputs_doubt(role: str, logits: Tensor, *, trained: bool) -> str | None:
    """What is wrong with a network's outputs, (N, C), for losses that take a softmax of them; None for logits.

    Logarithms of probabilities are as good as logits: their softmax gives them back. An untrained network's
    outputs may lie between 0 and 1 by chance, and are not doubted for that.
    """
    if logits.shape[1] < 2 or bool((logits < 0).any()):
        return None
    if bool(((logits.sum(1) - 1).abs() < 0.01).all()):
        kind = "rows are not negative and sum to 1, so these are probabilities already (softmax)"
    elif trained and bool(((logits > 0) & (logits < 1)).all()):
        kind = "values lie between 0 and 1, so these are probabilities already (sigmoid)"
    else:
        return None
    return (
        f"{role}'s outputs: {kind}, and a second softmax leaves little of the differences between classes: let the "
        "network give what it has before its last softmax or sigmoid, or its logarithm"
    )
