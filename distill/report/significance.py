"""Whether differences over seeds are more than chance, for one comparison and for many at once."""

from collections.abc import Sequence

from scipy.stats import ttest_1samp


def paired_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of paired differences, one a seed, under Student's t; None where they cannot tell.

    They cannot where there are fewer than two, or all are alike: a spread of nothing is no measure of chance.
    """
    if len(differences) < 2 or max(differences) - min(differences) < 1e-12:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number after Holm (1979), in the order given; None stays None and doesn't count.

    The chance that any true null hypothesis is rejected at a level is at most that level, whatever depends on what.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[place] = least
    return corrected
