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
NEVER: Final = 2**63
"""A moment that does not come."""


class _Setting(ctypes.Structure):
    """``struct itimerspec``: interval and moment, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """Calls back at moments of the monotonic clock, in their order, never early.

    Where much is to be read in one turn of the loop, whoever reads may look at ``due`` between two
    reads and ``ring``: callbacks then need not wait for the turn's end.

    Args:
        loop: where callbacks run.
        kernel: whether the kernel may be asked for a timer.

    Attributes:
        due: moment (monotonic ns) of the next callback; ``NEVER`` where there is none.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, kernel: bool = sys.platform == "linux"
    ) -> None:
        self.due = NEVER
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
            loop.add_reader(self._fd, self._wake)

    def at(self, moment: int, callback: Callable[[], None]) -> None:
        """Call back at ``moment`` (monotonic ns); on the loop's next turn if it has passed."""
        heapq.heappush(self._due, (moment, next(self._order), callback))
        self._arm()

    def ring(self) -> None:
        """Call back whatever is due."""
        due = self._due
        while due and due[0][0] <= time.monotonic_ns():
            heapq.heappop(due)[2]()
        self._arm()

    def close(self) -> None:
        """Forget everything that is due."""
        self._due.clear()
        self.due = NEVER
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self) -> None:
        self.due = self._due[0][0] if self._due else NEVER
        if self.due in {self._armed, NEVER}:
            return
        self._armed = self.due
        if self._fd >= 0:
            seconds, ns = divmod(max(1, self.due), 1_000_000_000)
            setting = _Setting(0, 0, seconds, ns)
            assert self._libc is not None  # noqa: S101 - it gave the descriptor
            self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None)
            return
        if self._timer is not None:
            self._timer.cancel()
        wait = (self.due - time.monotonic_ns()) / 1e9 - _EARLY_S
        self._timer = self._loop.call_later(max(0.0, wait), self._wake)

    def _wake(self) -> None:
        if self._fd >= 0:
            with suppress(BlockingIOError):
                os.read(self._fd, 8)
        self._armed = None
        self.ring()
