"""Calls at absolute times, to the microsecond where the system can.

uvloop's own timers count whole milliseconds, as long as some simulated steps. On Linux one
``timerfd`` in the event loop does better; elsewhere the loop's timers are used.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import logging
import os
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_CLOCK_MONOTONIC: Final = 1
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE: Final = 1


class Alarms:
    """Pending calls of one event loop, by ``time.monotonic``.

    A call that raises is logged; the others still come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._armed = float("inf")
        self._timer = _TimerFd.open()
        self._handle: asyncio.TimerHandle | None = None
        if self._timer is not None:
            loop.add_reader(self._timer.fd, self._ring)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at ``when`` seconds on ``time.monotonic``, or at once when that has passed."""
        heapq.heappush(self._pending, (when, next(self._order), call))
        if when < self._armed:
            self._arm(when)

    def soon(self, call: Callable[[], None]) -> None:
        """Call in the loop's next turn, when what this one has written is with the kernel."""
        self._loop.call_soon(call)

    def close(self) -> None:
        """Forget everything that is pending."""
        self._pending.clear()
        if self._timer is not None:
            self._loop.remove_reader(self._timer.fd)
            os.close(self._timer.fd)
            self._timer = None
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self, when: float) -> None:
        self._armed = when
        if self._timer is not None:
            self._timer.set(when)
            return
        if self._handle is not None:
            self._handle.cancel()
        delay = max(0.0, when - time.monotonic())
        self._handle = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        if self._timer is not None:
            self._timer.drain()
        now = time.monotonic()
        due = []
        # What becomes due by these calls waits for the next turn of the loop, so that sockets
        # are served even when every step is late.
        while self._pending and self._pending[0][0] <= now:
            due.append(heapq.heappop(self._pending)[2])
        self._armed = float("inf")
        for call in due:
            try:
                call()
            except Exception:  # noqa: BLE001 - logged; the clock must go on
                _LOG.exception("a timed call failed")
        if self._pending and self._pending[0][0] < self._armed:
            self._arm(self._pending[0][0])


class _TimeSpec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class _TimerFd:
    """Linux's timer as a file descriptor (timerfd_create(2)); ``os`` has it from 3.13 on only."""

    def __init__(self, libc: ctypes.CDLL, fd: int) -> None:
        self._settime = libc.timerfd_settime
        self.fd = fd
        self._spec = _TimerSpec()
        self._reference = ctypes.byref(self._spec)

    @classmethod
    def open(cls) -> _TimerFd | None:
        """Make a timer, or None where the system has none."""
        if not sys.platform.startswith("linux"):
            return None
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        except (OSError, AttributeError):
            return None
        return cls(libc, fd) if fd >= 0 else None

    def set(self, when: float) -> None:
        """Ring at ``when``; a time of zero would mean never, so the least is a nanosecond."""
        seconds = int(when)
        self._spec.value.sec = seconds
        self._spec.value.nsec = max(1, int((when - seconds) * 1e9))
        self._settime(self.fd, _ABSOLUTE, self._reference, None)

    def drain(self) -> None:
        """Read the count of rings, so that the descriptor is no longer readable."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return
