"""Differences between averages over replicates, and which of several alternatives is best.

A *cell* is the sample of one treatment: one value per independent unit (``replicates.units``), by
the unit's key where treatments share their ground (``contrasts``), else a plain list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llmatrix.analysis.contrasts import Contrast, Sample, differ, mean, unkeyed, weigh
from llmatrix.analysis.multiplicity import holm
from llmatrix.analysis.replicates import Estimate

Cell: TypeAlias = Sequence[float] | Sample


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
    """Estimate the weighted sum of cell means, as ``contrasts.weigh`` does.

    Returns:
        The estimate; ``n`` is the smallest number of units in a cell. No mean where a cell is
        empty, no half-width where one has a single unit.
    """
    return weigh([(weight, sample_of(cell)) for weight, cell in cells]).estimate(confidence)


def average(cells: Sequence[Cell], *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of the cell means, every cell counting the same."""
    return mean([sample_of(cell) for cell in cells]).estimate(confidence)


def difference(a: Sequence[Cell], b: Sequence[Cell], *, confidence: float = 0.95) -> Estimate:
    """Estimate how much the average of ``a`` exceeds that of ``b``, cell for cell."""
    return _difference(a, b).estimate(confidence)


def leader(
    alternatives: Mapping[str, Sequence[Cell]], *, lower: bool, confidence: float = 0.95
) -> Leader | None:
    """Find the best alternative and those that cannot be told apart from it.

    The best is chosen by looking, so its comparisons with the others are adjusted (Holm) as part
    of all k (k - 1) / 2 comparisons: whichever turns out best, all that is said holds together.
    That it was chosen by looking makes its own mean look a little better than it is.

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
    others = [key for key in means if key != best]
    p_values = [_difference(alternatives[best], alternatives[key]).p_value() for key in others]
    adjusted = holm(p_values, tests=len(means) * (len(means) - 1) // 2)
    tied = tuple(
        key
        for key, p in zip(others, adjusted, strict=True)
        if p is not None and p > 1.0 - confidence
    )
    return Leader(best, tied, None not in p_values)


def sample_of(cell: Cell) -> Sample:
    """Give a cell as a sample; a plain list shares its ground with no other."""
    return cell if isinstance(cell, Mapping) else unkeyed(cell)


def _difference(a: Sequence[Cell], b: Sequence[Cell]) -> Contrast:
    return differ([sample_of(cell) for cell in b], [sample_of(cell) for cell in a])
