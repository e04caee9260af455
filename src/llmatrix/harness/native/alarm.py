"""Callbacks at a moment, to a tenth of a millisecond; the event loop's own timers count whole ones.

On Linux a timer of the kernel (timerfd_create(2)) wakes the loop like a connection that has bytes
to read. Elsewhere the loop's timer wakes early and passes the rest in turns of the loop, which
costs a core as long as it waits.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final

_MONOTONIC: Final = 1
_NONBLOCK: Final = os.O_NONBLOCK
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE: Final = 1
_EARLY_S: Final = 0.0006


class _Setting(ctypes.Structure):
    """``struct itimerspec``: interval and moment, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """Calls back at moments of the monotonic clock, in their order, never early.

    Args:
        loop: where callbacks run.
        kernel: whether the kernel may be asked for a timer.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, kernel: bool = sys.platform == "linux"
    ) -> None:
        self._loop = loop
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._armed: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None) if kernel else None
        self._fd = -1
        if self._libc is not None:
            self._fd = self._libc.timerfd_create(_MONOTONIC, _NONBLOCK | _CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._ring)

    def at(self, moment: int, callback: Callable[[], None]) -> None:
        """Call back at ``moment`` (monotonic ns); on the loop's next turn if it has passed."""
        heapq.heappush(self._due, (moment, next(self._order), callback))
        self._arm()

    def close(self) -> None:
        """Forget everything that is due."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> None:
        if not self._due or self._due[0][0] == self._armed:
            return
        self._armed = self._due[0][0]
        if self._fd >= 0:
            seconds, ns = divmod(max(1, self._armed), 1_000_000_000)
            setting = _Setting(0, 0, seconds, ns)
            assert self._libc is not None  # noqa: S101 - it gave the descriptor
            self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        wait = (self._armed - time.monotonic_ns()) / 1e9 - _EARLY_S
        self._timer = self._loop.call_later(max(0.0, wait), self._ring)

    def _ring(self) -> None:
        if self._fd >= 0:
            with suppress(BlockingIOError):
                os.read(self._fd, 8)
        self._armed = None
        while self._due and self._due[0][0] <= time.monotonic_ns():
            heapq.heappop(self._due)[2]()
        self._arm()
