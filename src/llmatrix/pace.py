"""The asked rate of an open loop over time: how many arrivals by when, and when the n-th.

An arrival process of any rate is one of unit rate on another clock: the one that shows the
arrivals expected so far. That makes Poisson arrivals of a changing rate exact (Çinlar,
"Introduction to Stochastic Processes", 1975, section 4.7), keeps constant ones evenly spread over
that clock, and lets the gaps of a ramp be judged like those of a steady rate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

Process = Literal["poisson", "constant", "gamma"]


def gap_cv(process: Process, cv: float | None) -> float:
    """Give the coefficient of variation of a process's gaps; ``cv`` is that of gamma ones."""
    if process == "gamma":
        assert cv is not None  # noqa: S101 - the specification asks for it
        return cv
    return 1.0 if process == "poisson" else 0.0


class Piece(NamedTuple):
    """Some seconds in which the rate goes in a straight line from ``begin`` to ``end``, per second.

    All three are positive.
    """

    seconds: float
    begin: float
    end: float


class Pace:
    """A rate over time: the pieces one after another from zero, then ``rate`` for ever.

    Args:
        rate: arrivals per second once the pieces are over.
        pieces: how the rate goes before; none for a steady rate.
    """

    def __init__(self, rate: float, pieces: Iterable[Piece] = ()) -> None:
        self._rate = rate
        self._pieces = tuple(pieces)
        areas = (p.seconds * (p.begin + p.end) / 2 for p in self._pieces)
        self._times = [0.0, *accumulate(p.seconds for p in self._pieces)]
        self._counts = [0.0, *accumulate(areas)]

    def expected(self, seconds: float) -> float:
        """Give the arrivals expected from zero to ``seconds``; negative before zero."""
        place = max(0, bisect_right(self._times, seconds) - 1)
        into, before = seconds - self._times[place], self._counts[place]
        if place == len(self._pieces):
            return before + self._rate * into
        piece = self._pieces[place]
        slope = (piece.end - piece.begin) / piece.seconds
        return before + into * (piece.begin + (slope * into / 2 if into > 0.0 else 0.0))

    def due(self, count: float) -> float:
        """Give the seconds by which ``count`` arrivals are expected: the inverse of that."""
        place = max(0, bisect_right(self._counts, count) - 1)
        into, before = count - self._counts[place], self._times[place]
        if place == len(self._pieces):
            return before + into / self._rate
        piece = self._pieces[place]
        slope = (piece.end - piece.begin) / piece.seconds
        root = math.sqrt(piece.begin**2 + 2.0 * slope * into)
        return before + 2.0 * into / (piece.begin + root)


def ramped(rate: float, ramp: Sequence[Piece], warmup: float) -> Pace:
    """Give the pace of a ramp that begins after the warm-up, and stays at ``rate`` at its end.

    The warm-up has the rate with which the ramp begins. Without a ramp the rate is steady.
    """
    if not ramp:
        return Pace(rate)
    first = ramp[0].begin
    return Pace(rate, [Piece(warmup, first, first), *ramp] if warmup > 0.0 else ramp)
