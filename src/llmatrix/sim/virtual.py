"""Runs one replica's engine against a virtual clock: no sockets, no waiting, exact times.

It is the served replica without the service: the same scheduler, the same durations, each step
beginning where the one before ended. An hour of traffic takes seconds, and gives the latencies
that an ideal client would measure at an ideal simulator.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
    upcoming = deque(sorted(sequences, key=lambda sequence: sequence.arrival))
    return _run(engine, upcoming, lambda _: None, disturbance or Disturbance(), watch)


def closed_loop(
    engine: Engine,
    sequences: Iterable[Sequence],
    concurrency: int,
    disturbance: Disturbance | None = None,
    watch: Watch | None = None,
) -> list[Served]:
    """Serve sequences so that always ``concurrency`` of them are under way, while they last.

    The first come at time 0, each further one when another ends; ``arrival`` is set accordingly.
    """
    left = iter(sequences)
    upcoming: deque[Sequence] = deque()

    def come(at: float) -> None:
        sequence = next(left, None)
        if sequence is not None:
            sequence.arrival = at
            upcoming.append(sequence)

    for _ in range(concurrency):
        come(0.0)
    return _run(engine, upcoming, come, disturbance or Disturbance(), watch)


def _run(
    engine: Engine,
    upcoming: deque[Sequence],
    ended: Callable[[float], None],
    disturbance: Disturbance,
    watch: Watch | None,
) -> list[Served]:
    served: list[Served] = []
    now = 0.0
    while True:
        while upcoming and upcoming[0].arrival <= now:
            engine.add(upcoming.popleft())
        step = engine.schedule(now)
        if step is None:
            if not upcoming:
                return served
            now = upcoming[0].arrival
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
