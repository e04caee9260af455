"""Runs one replica's engine against a virtual clock: no sockets, no waiting, exact times.

It is the served replica without the service: the same scheduler, the same durations, each step
beginning where the one before ended. An hour of traffic takes seconds, and gives the latencies
that an ideal client would measure at an ideal simulator.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from llmatrix.sim.faults import Disturbance
from llmatrix.sim.scheduler import Engine, Sequence, State, Step

Watch = Callable[[Step, float, float], None]
"""Called with each step, its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Served:
    """One answer that is whole; times in seconds of the virtual clock."""

    sequence: Sequence
    arrival: float
    first_token: float
    end: float

    @property
    def ttft(self) -> float:
        """Seconds from arrival to the first token."""
        return self.first_token - self.arrival

    @property
    def tpot(self) -> float:
        """Mean seconds between tokens: (end - first token) / (tokens - 1); NaN for one token."""
        tokens = self.sequence.max_tokens - 1
        return (self.end - self.first_token) / tokens if tokens else math.nan


def open_loop(
    engine: Engine,
    sequences: Iterable[Sequence],
    disturbance: Disturbance | None = None,
    watch: Watch | None = None,
) -> list[Served]:
    """Serve sequences that come at their ``arrival``; give them as they end.

    A stall without an end leaves those unserved that it holds.
    """
    upcoming = _Upcoming()
    for sequence in sequences:
        upcoming.add(sequence)
    return _run(engine, upcoming, lambda _: None, disturbance or Disturbance(), watch)


def closed_loop(
    engine: Engine,
    sequences: Iterable[Sequence],
    concurrency: int,
    disturbance: Disturbance | None = None,
    watch: Watch | None = None,
    ramp: float = 0.0,
) -> list[Served]:
    """Serve sequences so that always ``concurrency`` of them are under way, while they last.

    The first come evenly over ``ramp`` seconds, each further one when another ends; ``arrival`` is
    set accordingly.
    """
    left = iter(sequences)
    upcoming = _Upcoming()

    def come(at: float) -> None:
        sequence = next(left, None)
        if sequence is not None:
            sequence.arrival = at
            upcoming.add(sequence)

    for number in range(concurrency):
        come(ramp * number / concurrency)
    return _run(engine, upcoming, come, disturbance or Disturbance(), watch)


class _Upcoming:
    """Sequences that have not come yet, the earliest first; of one moment, as they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sequence]] = []
        self._order = count()

    def add(self, sequence: Sequence) -> None:
        heapq.heappush(self._heap, (sequence.arrival, next(self._order), sequence))

    def next_at(self) -> float:
        """Give the moment at which the next one comes; infinity when none does."""
        return self._heap[0][0] if self._heap else math.inf

    def take(self) -> Sequence:
        return heapq.heappop(self._heap)[2]


def _run(
    engine: Engine,
    upcoming: _Upcoming,
    ended: Callable[[float], None],
    disturbance: Disturbance,
    watch: Watch | None,
) -> list[Served]:
    served: list[Served] = []
    now = 0.0
    while True:
        while upcoming.next_at() <= now:
            engine.add(upcoming.take())
        step = engine.schedule(now)
        if step is None:
            now = upcoming.next_at()
            if now == math.inf:
                return served
            continue
        end = disturbance.end(now, step.seconds)
        if end == math.inf:
            return served
        if watch is not None:
            watch(step, now, end)
        for sequence in engine.finish(step, end):
            if sequence.state is State.FINISHED:
                served.append(Served(sequence, sequence.arrival, sequence.first_token_at, end))
                ended(end)
        now = end
