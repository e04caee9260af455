"""Over how many processes a workload is sent, where the experiment leaves it open."""

from __future__ import annotations

import math
from typing import Final

from llmatrix.spec.workloads import ClosedLoop, OpenLoop, RampedLoop, TraceWorkload, Workload

EVENTS_PER_S: Final = 30_000.0
"""Events that one process takes with about half a core (benchmarks/loadgen/limit.py)."""
REQUEST_EVENTS: Final = 15
"""What a request costs beside its events: its writing, connection and row."""
STREAM_TOKENS_PER_S: Final = 100.0
"""Tokens per second that one stream of a closed loop is taken to bring: an ITL of 10 ms."""


def shards(workload: Workload, cores: int) -> int:
    """Give the number of processes: as many as the events take, at most one for each core.

    An open loop's events per second are its highest rate times the output tokens of a request
    and 15 more; a closed loop's are 100 for each stream. What is not streamed has one event.
    """
    if workload.shards != "auto":
        return workload.shards
    needed = math.ceil(events_per_s(workload) / EVENTS_PER_S)
    return max(1, min(needed, cores))


def events_per_s(workload: Workload) -> float:
    """Expect how many events a workload brings each second at its highest rate."""
    tokens = workload.mean_output if workload.stream else 1.0
    events = tokens + REQUEST_EVENTS
    if isinstance(workload, TraceWorkload):
        return workload.mean_rate * events
    load = workload.load
    if isinstance(load, ClosedLoop):
        seconds = tokens / STREAM_TOKENS_PER_S if workload.stream else workload.mean_output / 100
        return load.concurrency * events / max(seconds, 0.01)
    assert isinstance(load, (OpenLoop, RampedLoop))  # noqa: S101 - there are no other loads
    peak = max([load.final_rate, *(max(p.begin, p.end) for p in load.pieces)])
    return peak * workload.turns_each * events
