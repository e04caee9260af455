"""The highest load that holds a service-level objective, read off between measured loads.

The metric is taken to be linear between neighbouring loads; latency rises ever more steeply, so
the chord lies above it and the load is rather told too low. The interval is found by inverting a
test: it holds every load at which the interpolated mean, by Student's t, cannot be told from the
limit (Draper and Smith, Applied Regression Analysis, 3rd ed., section 3.2, "inverse regression").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmatrix.analysis.contrasts import MIN_UNITS, Sample
from llmatrix.analysis.replicates import student_ts

Floats = NDArray[np.float64]
_STEPS = 64
"""Places looked at between two neighbouring loads; between places the bound is linear."""


@dataclass(frozen=True, slots=True)
class HeldLoad:
    """The highest load that holds an objective, in the unit of the loads.

    Attributes:
        load: None where even the lowest measured load misses it.
        low: lower end of the interval; None where the lowest measured load may miss it, or where
            a load has a single replicate.
        high: upper end; None where the highest measured load may hold it, or as above.
        at_least: whether the highest measured load holds it, so that ``load`` is only a bound.
        judged: whether there were replicates for an interval.
    """

    load: float | None
    low: float | None
    high: float | None
    at_least: bool
    judged: bool


def highest_held_load(
    loads: Sequence[tuple[float, Sample]],
    limit: float,
    *,
    overloaded: Sequence[float] = (),
    confidence: float = 0.95,
) -> HeldLoad | None:
    """Find the load up to which the metric stays at or below the limit.

    Args:
        loads: load, and the metric's sample there; in any order, each load once.
        limit: of the metric.
        overloaded: loads at which the server did not keep up, so that no figure of a steady state
            exists; no such load holds anything, nor does any above it.
        confidence: of the interval.

    Returns:
        None where nothing was measured.
    """
    ceiling = min(overloaded, default=None)
    told = [(x, sample) for x, sample in sorted(loads, key=lambda point: point[0]) if sample]
    if ceiling is not None:
        told = [(x, sample) for x, sample in told if x < ceiling]
    if not told:
        nothing = HeldLoad(None, None, ceiling, at_least=False, judged=False)
        return None if ceiling is None else nothing
    places, means, lower, upper = _band(told, confidence)
    lowest, highest = float(places[0]), float(places[-1])
    crossing = _first_above(places, means, limit)
    at_least = crossing is None
    load = None if means[0] > limit else highest if crossing is None else crossing
    if not np.isfinite(upper).all():
        return HeldLoad(load, None, None, at_least=at_least and ceiling is None, judged=False)
    doubtful, hopeless = _first_above(places, upper, limit), _first_above(places, lower, limit)
    return HeldLoad(
        load,
        low=None if upper[0] > limit else highest if doubtful is None else doubtful,
        high=lowest if lower[0] > limit else ceiling if hopeless is None else hopeless,
        at_least=at_least and ceiling is None,
        judged=True,
    )


def _band(
    told: Sequence[tuple[float, Sample]], confidence: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Give places along the curve, its mean there and the bounds of its interval."""
    shares = np.linspace(0.0, 1.0, _STEPS + 1)
    places, means, halves = [], [], []
    for (left, before), (right, after) in pairwise(told):
        mean, half = _between(before, after, shares, confidence)
        places.append(left + shares * (right - left))
        means.append(mean)
        halves.append(half)
    if not places:  # one load alone
        place, only = told[0]
        mean, half = _between(only, only, shares[:1], confidence)
        places, means, halves = [np.array([place])], [mean], [half]
    x, y, reach = map(np.concatenate, (places, means, halves))
    return x, y, y - reach, y + reach


def _between(
    before: Sample, after: Sample, shares: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """Give mean and half-width on the way from one load to the next.

    The same sums as ``contrasts.weigh`` forms of (1 - share) and share, for all shares at once.
    """
    same = before.keys() == after.keys()
    first = np.array(list(before.values()))
    second = np.array([after[unit] for unit in before] if same else list(after.values()))
    means = (1 - shares) * first.mean() + shares * second.mean()
    if min(len(first), len(second)) < MIN_UNITS:
        return means, np.full_like(means, np.inf)
    if same:
        values = np.outer(1 - shares, first) + np.outer(shares, second)
        errors = values.var(axis=1, ddof=1) / len(first)
        return means, student_ts(confidence, np.array(len(first) - 1.0)) * np.sqrt(errors)
    parts = np.stack(
        [
            (1 - shares) ** 2 * first.var(ddof=1) / len(first),
            shares**2 * second.var(ddof=1) / len(second),
        ]
    )
    own = np.array([[len(first) - 1.0], [len(second) - 1.0]])
    total, below = parts.sum(axis=0), (parts**2 / (own + 2)).sum(axis=0)
    varies = below > 0
    degrees = np.where(varies, total**2 / np.where(varies, below, 1.0) - 2, own.min())
    fewest = np.where(parts > 0, own, np.inf).min(axis=0)
    degrees = np.clip(degrees, np.minimum(fewest, own.max()), own.sum())
    return means, student_ts(confidence, degrees) * np.sqrt(total)


def _first_above(x: Floats, y: Floats, limit: float) -> float | None:
    """Give where ``y`` first exceeds the limit, linear between places; None if nowhere."""
    above = np.flatnonzero(y > limit)
    if not above.size:
        return None
    at = int(above[0])
    if at == 0:
        return float(x[0])
    share = (limit - y[at - 1]) / (y[at] - y[at - 1])
    return float(x[at - 1] + share * (x[at] - x[at - 1]))
