"""Waiting for a condition, up to a time, and not a moment longer once the user asks to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from llmatrix.errors import Stopped

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    timeout_s: float,
    *,
    stop: threading.Event | None = None,
    every_s: float = 0.05,
) -> T | None:
    """Ask ``condition`` until it gives something true; give that, or None when time is up.

    It is asked at once, then more and more rarely, at most ``every_s`` apart.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = min(0.002, every_s)
    quiet = stop or threading.Event()
    while True:
        if quiet.is_set():
            raise Stopped("stopped while waiting")
        found = condition()
        if found:
            return found
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return None
        quiet.wait(min(pause_s, remaining_s))
        pause_s = min(pause_s * 1.5, every_s)
