"""Contrasts of cell means over replicates: main effects, differences, and which is best.

A *cell* is the sample of one treatment: one value per independent unit (``replicates.units``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from llmatrix.analysis.replicates import Estimate, student_t

Cell = Sequence[float]

MIN_UNITS = 2
"""Below two units a sample has no variance."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The best of several alternatives.

    Attributes:
        best: key of the alternative with the best mean.
        tied: keys of those that cannot be told apart from it.
        judged: whether there were replicates enough to tell anything apart.
    """

    best: str
    tied: tuple[str, ...]
    judged: bool


def contrast(cells: Sequence[tuple[float, Cell]], *, confidence: float = 0.95) -> Estimate:
    """Estimate the weighted sum of cell means.

    The interval allows every cell its own variance; degrees of freedom by Satterthwaite ("An
    approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946),
    which for two cells of weight +1 and -1 is Welch's.

    Args:
        cells: weight and sample of each cell.
        confidence: of the interval.

    Returns:
        The estimate; ``n`` is the smallest number of units in a cell. No mean where a cell is
        empty, no half-width where one has a single unit.
    """
    n = min((len(cell) for _, cell in cells), default=0)
    if n == 0:
        return Estimate(0, None, None, confidence)
    mean = math.fsum(weight * fmean(cell) for weight, cell in cells)
    if n < MIN_UNITS:
        return Estimate(n, mean, None, confidence)
    parts = [(weight**2 * variance(cell) / len(cell), len(cell) - 1) for weight, cell in cells]
    total = math.fsum(part for part, _ in parts)
    below = math.fsum(part**2 / degrees for part, degrees in parts)
    if below == 0:  # no cell varies (or by less than a float can hold)
        return Estimate(n, mean, 0.0, confidence)
    half_width = student_t(confidence, total**2 / below) * math.sqrt(total)
    return Estimate(n, mean, half_width, confidence)


def average(cells: Sequence[Cell], *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of the cell means, every cell counting the same: a main effect."""
    return contrast([(1 / len(cells), cell) for cell in cells], confidence=confidence)


def difference(a: Sequence[Cell], b: Sequence[Cell], *, confidence: float = 0.95) -> Estimate:
    """Estimate how much the average of ``a`` exceeds that of ``b``, cell for cell."""
    weights = [(1 / len(a), cell) for cell in a] + [(-1 / len(b), cell) for cell in b]
    return contrast(weights, confidence=confidence)


def leader(
    alternatives: Mapping[str, Sequence[Cell]], *, lower: bool, confidence: float = 0.95
) -> Leader | None:
    """Find the best alternative and those that cannot be told apart from it.

    Each of the k - 1 comparisons with the best is made at confidence 1 - (1 - confidence) /
    (k - 1), so that all of them hold together (Bonferroni). That the best was chosen by looking
    makes its own mean look a little better than it is.

    Args:
        alternatives: for each, its cells; the same blocks in the same order for all, none empty.
        lower: whether lower is better.
        confidence: of all comparisons together.

    Returns:
        None where there are fewer than two alternatives or nothing to compare them on.
    """
    compared = {key: average(cells).mean for key, cells in alternatives.items() if cells}
    means = {key: mean for key, mean in compared.items() if mean is not None}
    if len(means) < 2:  # noqa: PLR2004 - a comparison takes two
        return None
    best = (min if lower else max)(means, key=lambda key: means[key])
    each = 1 - (1 - confidence) / (len(means) - 1)
    tied = []
    judged = True
    for key in means:
        if key == best:
            continue
        found = difference(alternatives[best], alternatives[key], confidence=each)
        if found.half_width is None or found.mean is None:
            judged = False
        elif abs(found.mean) <= found.half_width:
            tied.append(key)
    return Leader(best, tuple(tied), judged)
