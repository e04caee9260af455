"""Is B better than A? Difference, ratio, verdict, and whether it is a regression.

The change from A to B is judged by tests on linear contrasts of the means: B - A for "is there a
difference", and B - (1 + threshold) A for "is it worse by more than the threshold", which needs
no division and so holds for a baseline of zero. The ratio's interval is that of Fieller ("Some
problems in interval estimation", Journal of the Royal Statistical Society B 16(2), 1954): every
ratio r for which B - r A is not told from zero. Families of verdicts are held together by Holm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from llmatrix.analysis.contrasts import Contrast, Sample, differ, mean, weigh
from llmatrix.analysis.multiplicity import holm
from llmatrix.analysis.power import minimum_detectable
from llmatrix.analysis.replicates import Estimate, student_t

Better = Literal["lower", "higher", "neither"]


class Verdict(StrEnum):
    """What can be said about B against A."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    """Told apart, in a metric of which neither way is better."""
    ALIKE = "not told apart"
    UNJUDGED = "not judged"
    """Without two replicates on either side nothing can be said."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """B / A with Fieller's interval; bounds are None where A is not told from zero."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of A against B, averaged over the cells that both have.

    Attributes:
        better: which way of the metric is better.
        a, b: the means of both sides.
        difference: B - A.
        ratio: B / A; None where A's mean is zero or nothing was measured.
        detectable: smallest difference that would have been seen with a power of 80 %.
        p: of the difference, two-sided, by itself.
        p_regression: of "not worse by more than the threshold", by itself; None where neither way
            is better.
        threshold: as a share of A.
        paired: whether any cell's units are the same on both sides.
    """

    better: Better
    a: Estimate
    b: Estimate
    difference: Contrast
    ratio: Ratio | None
    detectable: float | None
    p: float | None
    p_regression: float | None
    threshold: float
    paired: bool

    @property
    def change(self) -> float | None:
        """B's change against A as a share of A; None where A's mean is zero."""
        return None if self.ratio is None else self.ratio.value - 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison and what its family lets us say.

    Attributes:
        comparison: the figures.
        verdict: at the family's confidence.
        p_adjusted: Holm's, of the difference.
        regression: whether B is worse by more than the threshold, at the family's confidence.
        p_regression_adjusted: Holm's, of that.
    """

    comparison: Comparison
    verdict: Verdict
    p_adjusted: float | None
    regression: bool
    p_regression_adjusted: float | None


def compare(
    a: Sequence[Sample],
    b: Sequence[Sample],
    *,
    better: Better,
    threshold: float = 0.0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two sides over the same cells.

    Args:
        a: the reference: one sample for each cell.
        b: what is held against it: the same cells in the same order.
        better: which way of the metric is better.
        threshold: the share of A by which B may be worse without being a regression.
        confidence: of the intervals.

    Raises:
        ValueError: the sides have different numbers of cells, or none.
    """
    if len(a) != len(b) or not a:
        raise ValueError("both sides need the same cells, at least one")
    difference = differ(a, b)
    return Comparison(
        better=better,
        a=mean(a).estimate(confidence),
        b=mean(b).estimate(confidence),
        difference=difference,
        ratio=ratio(a, b, confidence=confidence),
        detectable=minimum_detectable(difference, confidence=confidence),
        p=difference.p_value(),
        p_regression=_p_regression(a, b, better, threshold),
        threshold=threshold,
        paired=any(one.keys() == other.keys() for one, other in zip(a, b, strict=True)),
    )


def ratio(a: Sequence[Sample], b: Sequence[Sample], *, confidence: float = 0.95) -> Ratio | None:
    """Estimate how many times the average of ``a`` that of ``b`` is.

    The degrees of freedom are those of B - r A at the estimated ratio.
    """
    below, above = mean(a), mean(b)
    if below.value is None or above.value is None or below.value == 0.0:
        return None
    value = above.value / below.value
    at_value = _scaled(a, b, value)
    if at_value.error is None or below.error is None or above.error is None:
        return Ratio(value, None, None)
    difference = differ(a, b)
    covariance = (below.error**2 + above.error**2 - (difference.error or 0.0) ** 2) / 2
    t2 = student_t(confidence, at_value.degrees) ** 2 if at_value.error else 0.0
    square = below.value**2 - t2 * below.error**2
    if square <= 0.0:
        return Ratio(value, None, None)
    middle = below.value * above.value - t2 * covariance
    last = above.value**2 - t2 * above.error**2
    root = math.sqrt(max(0.0, middle**2 - square * last))
    return Ratio(value, (middle - root) / square, (middle + root) / square)


def judge(family: Sequence[Comparison], *, confidence: float = 0.95) -> list[Judged]:
    """Give each comparison its verdict, so that all of them hold together."""
    level = 1.0 - confidence
    differences = holm([one.p for one in family])
    regressions = holm([one.p_regression for one in family])
    return [
        Judged(
            comparison=one,
            verdict=_verdict(one, p, level),
            p_adjusted=p,
            regression=worse is not None and worse <= level,
            p_regression_adjusted=worse,
        )
        for one, p, worse in zip(family, differences, regressions, strict=True)
    ]


def _verdict(one: Comparison, p: float | None, level: float) -> Verdict:
    if p is None or one.difference.value is None:
        return Verdict.UNJUDGED
    if p > level:
        return Verdict.ALIKE
    if one.better == "neither":
        return Verdict.DIFFERENT
    rose = one.difference.value > 0
    return Verdict.BETTER if rose == (one.better == "higher") else Verdict.WORSE


def _p_regression(
    a: Sequence[Sample], b: Sequence[Sample], better: Better, threshold: float
) -> float | None:
    if better == "lower":
        return _scaled(a, b, 1.0 + threshold).p_value(0.0, "greater")
    if better == "higher":
        return _scaled(a, b, 1.0 - threshold).p_value(0.0, "less")
    return None


def _scaled(a: Sequence[Sample], b: Sequence[Sample], factor: float) -> Contrast:
    """Estimate the average of ``b`` less ``factor`` times that of ``a``."""
    cells = [(1 / len(b), sample) for sample in b]
    return weigh(cells + [(-factor / len(a), sample) for sample in a])
