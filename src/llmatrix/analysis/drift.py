"""Did the machine change while the experiment ran? What repeated trials tell.

Trials that repeat the same treatment (control trials, or the replicates of every treatment) should
give the same, whenever they ran. A straight line over time is fitted through them, with a level of
its own for each treatment and one slope for all (analysis of covariance: Montgomery, Design and
Analysis of Experiments, 8th ed., section 15.3). Values are taken as logarithms, so that the
slope is a relative change and treatments of different size count alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from llmatrix.analysis.contrasts import Contrast

Series = Sequence[tuple[float, float]]
"""Moment and positive value of each trial of one treatment."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a metric changed from the first trial to the last.

    Attributes:
        change: as a share of the first value: 0.05 for 5 % more at the end.
        low, high: interval of ``change``; None where nothing is left to judge it by.
        p: of "no drift"; None as above.
        trials: how many it is told from.
        spread: standard deviation of the trials around the line, as a share.
    """

    change: float
    low: float | None
    high: float | None
    p: float | None
    trials: int
    spread: float | None


def drift(treatments: Sequence[Series], *, confidence: float = 0.95) -> Drift | None:
    """Estimate the change across the run.

    Args:
        treatments: the repeated trials of each; those with one trial, and values that are not
            positive, tell nothing.
        confidence: of the interval.

    Returns:
        None where no treatment was repeated at different moments.
    """
    logs = [[(t, math.log(v)) for t, v in series if v > 0] for series in treatments]
    repeated = [series for series in logs if len(series) > 1]
    if not repeated:
        return None
    moments = [t for series in repeated for t, _ in series]
    times, values = _centred(repeated)
    squares = math.fsum(t * t for t in times)
    if squares == 0.0:
        return None
    span = max(moments) - min(moments)
    slope = math.fsum(t * v for t, v in zip(times, values, strict=True)) / squares
    degrees = len(times) - len(repeated) - 1
    if degrees < 1:
        return Drift(math.expm1(slope * span), None, None, None, len(times), None)
    left = math.fsum((v - slope * t) ** 2 for t, v in zip(times, values, strict=True)) / degrees
    fitted = Contrast(len(times), slope * span, span * math.sqrt(left / squares), degrees)
    interval = fitted.interval(confidence)
    return Drift(
        change=math.expm1(slope * span),
        low=None if interval is None else math.expm1(interval[0]),
        high=None if interval is None else math.expm1(interval[1]),
        p=fitted.p_value(),
        trials=len(times),
        spread=math.sqrt(left),
    )


def _centred(repeated: Sequence[Series]) -> tuple[list[float], list[float]]:
    """Take each treatment's own mean moment and value away."""
    times: list[float] = []
    values: list[float] = []
    for series in repeated:
        moment, value = fmean(t for t, _ in series), fmean(v for _, v in series)
        times += [t - moment for t, _ in series]
        values += [v - value for _, v in series]
    return times, values
