"""Whether two treatments differ, and which of many is best, over replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from llmatrix.analysis.replicates import Estimate, student_t

MIN_UNITS = 2
"""Below two units a sample has no variance."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The best of several treatments.

    Attributes:
        best: key of the treatment with the best mean.
        tied: keys of those that cannot be told apart from it.
        judged: whether there were replicates enough to tell anything apart.
    """

    best: str
    tied: tuple[str, ...]
    judged: bool


def difference(a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Estimate mean(a) - mean(b); ``n`` is the smaller number of units.

    The interval is Welch's: unequal variances, degrees of freedom by Welch and Satterthwaite
    (Welch, "The generalization of Student's problem", Biometrika 34, 1947).
    """
    n = min(len(a), len(b))
    if n == 0:
        return Estimate(0, None, None, confidence)
    mean = fmean(a) - fmean(b)
    if n < MIN_UNITS:
        return Estimate(n, mean, None, confidence)
    part_a, part_b = variance(a) / len(a), variance(b) / len(b)
    total = part_a + part_b
    if total == 0:
        return Estimate(n, mean, 0.0, confidence)
    degrees = total**2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    return Estimate(n, mean, student_t(confidence, degrees) * math.sqrt(total), confidence)


def leader(
    samples: Mapping[str, Sequence[float]], *, lower: bool, confidence: float = 0.95
) -> Leader | None:
    """Find the best treatment and those that cannot be told apart from it.

    Each of the k - 1 comparisons with the best is made at confidence 1 - (1 - confidence) /
    (k - 1), so that all of them hold together (Bonferroni). That the best was chosen by looking
    makes its own mean optimistic; the verdict "cannot be told apart" errs on the careful side.

    Args:
        samples: values per independent unit, by treatment; empty ones are passed over.
        lower: whether lower is better.
        confidence: of all comparisons together.

    Returns:
        None where fewer than two treatments have values.
    """
    means = {key: fmean(values) for key, values in samples.items() if values}
    if len(means) < MIN_UNITS:
        return None
    best = (min if lower else max)(means, key=lambda key: means[key])
    each = 1 - (1 - confidence) / (len(means) - 1)
    tied = []
    judged = True
    for key in means:
        if key == best:
            continue
        found = difference(samples[best], samples[key], confidence=each)
        if found.half_width is None:
            judged = False
        elif abs(found.mean or 0.0) <= found.half_width:
            tied.append(key)
    return Leader(best, tuple(tied), judged)
