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

from llmatrix.analysis.contrasts import MIN_UNITS, Sample, weigh

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
    places = [told[0][0]]
    cells: list[list[tuple[float, Sample]]] = [[(1.0, told[0][1])]]
    for (left, before), (right, after) in pairwise(told):
        for share in np.linspace(0, 1, _STEPS + 1)[1:]:
            places.append(left + share * (right - left))
            weights = [(1.0 - share, before), (share, after)]
            cells.append([(weight, sample) for weight, sample in weights if weight > 0])
    found = [weigh(each) for each in cells]
    means = np.array([one.value for one in found], dtype=np.float64)
    if min(one.n for one in found) < MIN_UNITS:
        unknown = np.full_like(means, np.inf)
        return np.array(places), means, -unknown, unknown
    half = np.array([one.estimate(confidence).half_width for one in found], dtype=np.float64)
    return np.array(places), means, means - half, means + half


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
