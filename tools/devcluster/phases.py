"""Tells what is being done and how long it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Print the name and the seconds of what happens inside, once it has happened."""
    began = time.monotonic()
    try:
        yield
    except BaseException:
        _tell(f"{name}: failed after {time.monotonic() - began:.1f} s")
        raise
    _tell(f"{name}: {time.monotonic() - began:.1f} s")


def note(sentence: str) -> None:
    """Print a sentence about something that takes long."""
    _tell(sentence)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
