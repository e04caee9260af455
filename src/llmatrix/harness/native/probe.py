"""What the sender did to itself in the window, and what the machine did to it."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LEAST_NS: Final = 10_000_000
_MOST_NS: Final = 50_000_000
_BEATS: Final = 125
_ENOUGH: Final = 100
_BIN_MS: Final = 0.02
_BINS: Final = 50_000
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Clocks:
    """Running totals of this process and of the machine; None where the system does not tell.

    Attributes:
        at: monotonic seconds.
        cpu: CPU seconds of this process.
        waited: seconds that its main thread was ready to run and had no core.
        stolen: CPU seconds of the machine that its host gave to others.
        throttled: seconds that the control group was held back for its quota.
        preempted: times that a core was taken from this process.
    """

    at: float
    cpu: float
    waited: float | None
    stolen: float | None
    throttled: float | None
    preempted: int


def clocks() -> Clocks:
    """Read them now."""
    wait = _words("/proc/self/schedstat")
    stat = _words("/proc/stat")
    throttled = _words("/sys/fs/cgroup/cpu.stat")
    return Clocks(
        at=time.monotonic(),
        cpu=time.process_time(),
        waited=int(wait[1]) / 1e9 if len(wait) > 1 else None,
        stolen=int(stat[8]) / os.sysconf("SC_CLK_TCK") if len(stat) > 8 else None,  # noqa: PLR2004
        throttled=int(throttled[throttled.index("throttled_usec") + 1]) / 1e6
        if "throttled_usec" in throttled
        else None,
        preempted=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
    )


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def cores() -> int:
    """Count the cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Probe:
    """Watches the event loop and the process from the window's start to its end.

    Loop lag is how late a timer runs that rings every 50 ms, or in short windows as often as a 99th
    percentile needs, down to every 10 ms; timers of the loop count whole milliseconds, so values up
    to 1 ms are its grain. Lags are counted in bins of 0.02 ms up to 1 s.
    """

    def __init__(self, opened: Callable[[], int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = opened
        self._lags = array("I", bytes(4 * (_BINS + 1)))
        self._beats = 0
        self._end = 0
        self._every = _MOST_NS
        self._connections = 0
        self._first: Clocks | None = None
        self._last: Clocks | None = None
        self.connections_opened: int | None = None

    def watch(self, start: int, end: int) -> None:
        """Watch between two moments (monotonic ns)."""
        self._end = end
        self._every = min(_MOST_NS, max(_LEAST_NS, (end - start) // _BEATS))
        self._loop.call_later(max(0.0, (start - time.monotonic_ns()) / 1e9), self._begin)

    @property
    def loop_lag_ms_p99(self) -> float | None:
        """The 99th percentile (nearest rank, upper edge of its bin); None below 100 samples."""
        if self._beats < _ENOUGH:
            return None
        above = self._beats // 100
        for place in range(_BINS, -1, -1):
            above -= self._lags[place]
            if above < 0:
                return (place + 1) * _BIN_MS
        return 0.0

    def figures(self) -> dict[str, float | int | None]:
        """Tell what was seen, as fields of ``Sender``; None for what nobody could see."""
        first, last = self._first, self._last
        found: dict[str, float | int | None] = {
            "loop_lag_ms_p99": self.loop_lag_ms_p99,
            "cores": cores(),
            "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
            "connections_opened": self.connections_opened,
        }
        if first is None or last is None:
            return found
        seconds = last.at - first.at
        shares = {
            "cpu": (first.cpu, last.cpu),
            "cpu_wait": (first.waited, last.waited),
            "steal": (first.stolen, last.stolen),
            "throttled": (first.throttled, last.throttled),
            "preempted_per_s": (first.preempted, last.preempted),
        }
        return found | {
            name: None if begin is None or end is None else (end - begin) / seconds
            for name, (begin, end) in shares.items()
        }

    def _begin(self) -> None:
        self._first = clocks()
        self._connections = self._opened()
        self._beat(time.monotonic_ns())

    def _beat(self, expected: int) -> None:
        now = time.monotonic_ns()
        late = max(0.0, (now - expected) / 1e6)
        self._lags[min(_BINS, int(late / _BIN_MS))] += 1
        self._beats += 1
        if now < self._end:
            self._loop.call_later(self._every / 1e9, self._beat, now + self._every)
        else:
            self.close()

    def close(self) -> None:
        """Look a last time, if the window is over and nobody has: the run may end with it."""
        if self._first is not None and self._last is None and time.monotonic_ns() >= self._end:
            self._last = clocks()
            self.connections_opened = self._opened() - self._connections
