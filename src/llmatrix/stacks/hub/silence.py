"""How long a Hub may be silent: seconds without a byte, whatever is asked of it and how often.

huggingface_hub counts tries, and for a list of files it waits without an end. Here the seconds of
waiting in vain are counted, over all tries and redirects of a thread, until it gets on: a line that
is slow is never given up, and one that is dead is told soon, also where each try brings a little
before it stalls. What is slept between two tries does not count: the Hub may have asked for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

from llmatrix.errors import Stopped

SILENT_S: Final = 20.0
"""Seconds of waiting in vain after which it is told."""
TRY_S: Final = 10.0
"""Of them, on one connection: another may be answered."""
GETS_ON: Final = 64 * 1024
"""Bytes that must come before earlier waiting is forgotten."""
_LEAST_S: Final = 0.1


class Silent(Exception):
    """Nothing came for too long.

    Attributes:
        host: that was asked last; by the Hub's own redirects maybe another than it.
        seconds: of waiting.
        connected: whether it took a connection.
    """

    def __init__(self, host: str, seconds: float, *, connected: bool) -> None:
        """Say it in words that are for logs; ``faults`` has those for people."""
        super().__init__(f"{host} was silent for {seconds:.0f} s")
        self.host, self.seconds, self.connected = host, seconds, connected


@dataclass(slots=True)
class Waiting:
    """What a thread waits for.

    Attributes:
        stop: ends it when it is set.
        waited_s: in vain, without what it slept.
        came: bytes since.
    """

    stop: threading.Event
    waited_s: float = 0.0
    came: int = 0

    def allowed_s(self) -> float:
        """Give the seconds that the next wait may take.

        Raises:
            Stopped: the thread is to end.
        """
        if self.stop.is_set():
            raise Stopped("stopped while downloading")
        return max(min(TRY_S, SILENT_S - self.waited_s), _LEAST_S)

    def fruitless(self, seconds: float, host: str, *, connected: bool) -> None:
        """Count a wait for a host that nothing came of.

        Raises:
            Silent: it was one too many.
        """
        self.waited_s, self.came = self.waited_s + seconds, 0
        if self.waited_s + _LEAST_S > SILENT_S:
            raise Silent(host, self.waited_s, connected=connected)

    def heard(self, count: int) -> None:
        """Count bytes that came."""
        self.came += count
        if self.came >= GETS_ON:
            self.waited_s = 0.0


_threads = threading.local()


def waiting() -> Waiting | None:
    """Give what is counted of this thread; None where nothing is."""
    found = getattr(_threads, "waiting", None)
    assert found is None or isinstance(found, Waiting)  # noqa: S101 - nobody else sets it
    return found


@contextmanager
def counted(stop: threading.Event) -> Iterator[None]:
    """Count the silence of what this thread asks of the Hub in this block; end when stopped.

    Raises:
        Silent: nothing came for ``SILENT_S``.
        Stopped: ``stop`` was set, and something was to be waited for.
    """
    _have_it_counted()
    _threads.waiting = Waiting(stop)
    try:
        yield
    finally:
        _threads.waiting = None


@cache
def _have_it_counted() -> None:
    """Have huggingface_hub ask by a client that counts; once, for that closes the one before."""
    from huggingface_hub import set_client_factory  # noqa: PLC0415 - takes a second

    from llmatrix.stacks.hub.client import Counting  # noqa: PLC0415 - an extra

    set_client_factory(Counting)
