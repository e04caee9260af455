"""Was the server in a steady state over the window? Two tests, of latency and of backlog."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BATCHES: Final = 10
_FEWEST_BATCHES: Final = 5
_PER_BATCH: Final = 5
STUDENT_T_99: Final = {3: 5.841, 4: 4.604, 5: 4.032, 6: 3.707, 7: 3.499, 8: 3.355}
"""Two-sided 99% points of Student's t by degrees of freedom."""
_Z: Final = 3.29
"""Two-sided 99.9% point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure changes over the window.

    Attributes:
        change: fitted change from the window's start to its end, as a share of the mean.
        significant: whether chance alone would show as much in fewer than 1 of 100 windows.
    """

    change: float
    significant: bool


def latency_trend(scheduled: Floats, latency: Floats) -> Trend | None:
    """Test for a linear trend of latency over the time of schedule.

    Method of batch means (Schmeiser, "Batch Size Effects in the Analysis of Simulation Output",
    Operations Research 30(3), 1982): successive requests depend on each other, means of long
    enough runs of them hardly do. The requests are cut, in order of schedule, into 10 batches of
    equal count (fewer, down to 5, where there are few), a straight line is fitted through the
    batch means, and its slope is held against Student's t at 99%.

    Returns:
        The trend; None where there are fewer than 25 requests, too few to tell.
    """
    batches = min(BATCHES, len(latency) // _PER_BATCH)
    if batches < _FEWEST_BATCHES:
        return None
    order = np.argsort(scheduled, kind="stable")
    times = np.array([part.mean() for part in np.array_split(scheduled[order], batches)])
    means = np.array([part.mean() for part in np.array_split(latency[order], batches)])
    spread = float(((times - times.mean()) ** 2).sum())
    if spread == 0.0 or means.mean() <= 0.0:
        return None
    slope = float(((times - times.mean()) * (means - means.mean())).sum()) / spread
    residual = means - means.mean() - slope * (times - times.mean())
    error = math.sqrt(float((residual**2).sum()) / (batches - 2) / spread)
    span = float(np.ptp(scheduled))
    significant = abs(slope) > STUDENT_T_99[batches - 2] * error
    return Trend(slope * span / float(means.mean()), significant)


def in_flight_mean(begun: Floats, ended: Floats, start: float, end: float) -> float:
    """Average over ``[start, end)`` how many requests were between begin and end."""
    spans = np.minimum(ended, end) - np.maximum(begun, start)
    return float(np.nansum(np.maximum(spans, 0.0)) / (end - start))


def backlog_growth(begun: Floats, ended: Floats, window_s: tuple[float, float]) -> Trend | None:
    """Test whether an open loop's requests pile up: the mark of a load above saturation.

    Compares the mean number in flight in the last third of the window with that in the first. By
    conservation, the difference is what arrived and was not served in the time between; divided
    by the arrivals of that time it is the share of the load that the server does not keep up with
    (``change``). It is significant beyond 3.29 standard deviations of the difference of two
    independent Poisson counts, what a stationary M/G/infinity system shows.

    Returns:
        The trend; None where fewer than 25 requests arrived in the window.
    """
    start, end = window_s
    third = (end - start) / 3
    arrived = int(np.count_nonzero((begun >= start) & (begun < end)))
    if arrived < _PER_BATCH * _FEWEST_BATCHES:
        return None
    first = in_flight_mean(begun, ended, start, start + third)
    last = in_flight_mean(begun, ended, end - third, end)
    growth = last - first
    significant = growth > _Z * math.sqrt(first + last + 1.0)
    return Trend(growth / (arrived * 2 / 3), significant)
