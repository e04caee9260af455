"""What the sender did to itself in the window: loop lag, CPU seconds, connections opened."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from typing import Final

_EVERY_NS: Final = 10_000_000
_ENOUGH: Final = 100


class Probe:
    """Watches the event loop and the process from the window's start to its end.

    Loop lag is how late a timer of 10 ms runs; timers of the loop count whole milliseconds, so
    values up to 1 ms are its grain.
    """

    def __init__(self, opened: Callable[[], int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = opened
        self._lags = array("d")
        self._end = 0
        self._cpu = 0.0
        self._connections = 0
        self._started = 0
        self.client_cpu: float | None = None
        self.connections_opened: int | None = None

    def watch(self, start: int, end: int) -> None:
        """Watch between two moments (monotonic ns)."""
        self._end = end
        self._loop.call_later(max(0.0, (start - time.monotonic_ns()) / 1e9), self._begin)

    @property
    def loop_lag_ms_p99(self) -> float | None:
        """The 99th percentile (nearest rank); None below 100 samples."""
        if len(self._lags) < _ENOUGH:
            return None
        return sorted(self._lags)[-(len(self._lags) // 100) - 1]

    def _begin(self) -> None:
        self._started = time.monotonic_ns()
        self._cpu = time.process_time()
        self._connections = self._opened()
        self._beat(self._started)

    def _beat(self, expected: int) -> None:
        now = time.monotonic_ns()
        self._lags.append(max(0.0, (now - expected) / 1e6))
        if now < self._end:
            self._loop.call_later(_EVERY_NS / 1e9, self._beat, now + _EVERY_NS)
            return
        self.client_cpu = (time.process_time() - self._cpu) / ((now - self._started) / 1e9)
        self.connections_opened = self._opened() - self._connections
