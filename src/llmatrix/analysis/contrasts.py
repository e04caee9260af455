"""Weighted sums of cell means with their error: what every comparison and effect is made of.

A *sample* is what one treatment gave in one metric: a value for each independent unit, by a key
that tells what the unit stood on (the seed of its traffic, or its repetition of the deployment).
Treatments whose units have the same keys were measured on the same ground, so their luck is
common and cancels: the sum is formed within each unit before its spread is taken (a paired
comparison; Student, Biometrika 6, 1908; Law, Simulation Modeling and Analysis, 5th ed., section
11.2, "common random numbers"). All others are independent, each with a variance of its own, and
the degrees of freedom are Welch's of 1947 ("The generalization of 'Student's' problem when several
different population variances are involved", Biometrika 34):

    (sum of v)^2 / (sum of v^2 / (f + 2)) - 2

with v each part's squared error and f its degrees of freedom. The more common formula of
Satterthwaite (1946), which has f for f + 2 and does not subtract 2, takes too few among the three
or so replicates that there are: its 95 % intervals of equal samples of three cover 96.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, TypeAlias

from llmatrix.analysis.replicates import Estimate, student_t

Unit: TypeAlias = Any
"""Whatever can be a key; a mapping is invariant in it, so a narrower type would fit nobody's."""
Sample: TypeAlias = Mapping[Unit, float]

MIN_UNITS = 2
"""Below two units a sample has no variance."""
_ROUNDING = 1e-12
"""What is smaller beside the terms of a sum comes from their rounding."""
Side = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted sum of means over replicates, in the unit of the values.

    Attributes:
        n: the fewest independent units of a cell; 0 where a cell is empty.
        value: the estimate; None where a cell is empty.
        error: its standard error; None where a cell has a single unit. Zero where nothing varies.
        degrees: of freedom of ``error``; infinite where nothing varies.
        paired: whether any cells were measured on the same ground.
    """

    n: int
    value: float | None
    error: float | None
    degrees: float
    paired: bool = False

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """Give it with the half-width of its Student t interval."""
        if self.error is None:
            return Estimate(self.n, self.value, None, confidence)
        half_width = student_t(confidence, self.degrees) * self.error if self.error else 0.0
        return Estimate(self.n, self.value, half_width, confidence)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Give the two-sided Student t interval; None where there is none."""
        found = self.estimate(confidence)
        if found.mean is None or found.half_width is None:
            return None
        return found.mean - found.half_width, found.mean + found.half_width

    def p_value(self, null: float = 0.0, side: Side = "two-sided") -> float | None:
        """Give how likely chance alone shows as much if the truth were ``null``; None: untold.

        Args:
            null: the value of no effect.
            side: ``greater`` holds against all truths up to ``null``, ``less`` the other way.
        """
        if self.value is None or self.error is None:
            return None
        excess = self.value - null
        if side == "less":
            excess = -excess
        if self.error == 0.0:
            told = excess != 0.0 if side == "two-sided" else excess > 0.0
            return 0.0 if told else 1.0
        from scipy.special import stdtr  # noqa: PLC0415 - not every command needs scipy

        if side == "two-sided":
            return float(2 * stdtr(self.degrees, -abs(excess) / self.error))
        return float(stdtr(self.degrees, -excess / self.error))


def weigh(cells: Sequence[tuple[float, Sample]]) -> Contrast:
    """Estimate the sum of weights times cell means.

    Args:
        cells: weight and sample of each; cells whose samples have the same units are paired.
    """
    n = min((len(sample) for _, sample in cells), default=0)
    if n == 0:
        return Contrast(0, None, None, math.inf)
    strands = _strands(cells)
    paired = len(strands) < len(cells)
    terms = [weight * fmean(sample.values()) for weight, sample in cells]
    noise = _ROUNDING * math.fsum(map(abs, terms))
    value = math.fsum(terms)
    if abs(value) <= noise:
        value = 0.0
    if n < MIN_UNITS:
        return Contrast(n, value, None, math.inf, paired)
    parts = [(_squared_error(values), len(values) - 1) for values in strands]
    total = math.fsum(part for part, _ in parts)
    below = math.fsum(part**2 / (degrees + 2) for part, degrees in parts)
    if below == 0.0 or total <= noise**2:  # nothing varies (or by less than a float can hold)
        return Contrast(n, value, 0.0, math.inf, paired)
    fewest, most = min(f for _, f in parts), sum(f for _, f in parts)
    degrees = min(max(total**2 / below - 2, fewest), most)
    return Contrast(n, value, math.sqrt(total), degrees, paired)


def differ(a: Sequence[Sample], b: Sequence[Sample]) -> Contrast:
    """Estimate how much the average of ``b`` exceeds that of ``a``, cell for cell."""
    weights = [(1 / len(b), sample) for sample in b] + [(-1 / len(a), sample) for sample in a]
    return weigh(weights)


def mean(cells: Sequence[Sample]) -> Contrast:
    """Estimate the mean of the cell means, every cell counting the same."""
    return weigh([(1 / len(cells), sample) for sample in cells])


def unkeyed(values: Iterable[float]) -> Sample:
    """Make a sample of values that share their ground with no other sample."""
    return {(object(), number): value for number, value in enumerate(values)}


def _squared_error(values: Sequence[float]) -> float:
    """Give the squared standard error of the mean of independent values."""
    middle = fmean(values)
    squares = math.fsum((value - middle) ** 2 for value in values)
    return squares / (len(values) - 1) / len(values)


def _strands(cells: Sequence[tuple[float, Sample]]) -> list[list[float]]:
    """Sum the cells of the same units within each unit; what remains is independent."""
    groups: dict[frozenset[Unit], list[tuple[float, Sample]]] = {}
    for weight, sample in cells:
        groups.setdefault(frozenset(sample), []).append((weight, sample))
    return [
        [math.fsum(weight * sample[unit] for weight, sample in group) for unit in group[0][1]]
        for group in groups.values()
    ]
