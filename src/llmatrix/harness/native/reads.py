"""How reads look that hold one event of a stream each, and need not be parsed.

A server that sends each event as one chunk (RFC 9112, section 7.1) which comes as one read has the
chunk's line before it, which tells the length; so how a read begins is known from its length, and
a read that begins and ends as ``Reads.like`` says is one whole chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from llmatrix.harness.native.likeness import Likeness, Template, likeness, template

LONGEST: Final = 4096
"""Bytes of a read from which on it is always parsed."""
_DATA: Final = b"data: "
_EVENT_END: Final = b"\n\n\r\n"
_ENDS: Final = len(b"\r\n\r\n")
_USUAL: Final = 8
"""Bytes that most texts of a token are no longer than; how such reads begin is made ahead."""


class Beginnings(dict[int, bytes]):
    """How a read begins, by its length, that is one chunk with a certain event in it.

    Args:
        before: how the event begins.
        style: ``x`` or ``X``, as the server writes the hexadecimal digits of the chunk's line.
    """

    __slots__ = ("_before", "_style")

    def __init__(self, before: bytes, style: str) -> None:
        super().__init__()
        self._before = before
        self._style = style

    def __missing__(self, size: int) -> bytes:
        line = chunk_line(size, self._style) if size < LONGEST else None
        if line is None:
            return b" " * (size + 1)  # longer than the read, so none begins with it
        self[size] = begins = line + self._before
        return begins

    def expect(self, lengths: Iterable[int]) -> None:
        """Make ahead how reads begin whose chunk has one of these lengths."""
        for length in lengths:
            line = f"{length:{self._style}}\r\n".encode()
            size = len(line) + length + len(b"\r\n")
            if size < LONGEST:
                self[size] = line + self._before


@cache
def chunk_line(size: int, style: str) -> bytes | None:
    """Give the line of the chunk that, with it and its end, is ``size`` bytes; None if none is."""
    for digits in (1, 2, 3):
        length = size - digits - _ENDS
        if length > 0 and len(f"{length:x}") == digits:
            return f"{length:{style}}\r\n".encode()
    return None


class Reads:
    """How the reads of one server's answers look; what one answer taught serves the others."""

    __slots__ = ("_end", "_template")

    def __init__(self) -> None:
        self._template: Template | None = None
        self._end = b""

    def like(self, data: bytes) -> tuple[Beginnings, bytes] | None:
        """Find how reads begin and end, around their text, that hold an event like a read's last.

        None where that event has no likeness, or does not end the read.
        """
        before, _, event = data.rpartition(b"\n" + _DATA)
        if not event.endswith(_EVENT_END) or len(event) >= LONGEST:
            return None
        found = self._likeness(event.removesuffix(_EVENT_END))
        if found is None:
            return None
        length = len(_DATA) + len(event) - len(b"\r\n")
        style = "x" if before.endswith(b"%x\r" % length) else "X"
        begins = Beginnings(_DATA + found.before, style)
        around = len(_DATA) + len(found.before) + len(self._end) - len(b"\r\n")
        begins.expect(range(around + 1, around + 1 + _USUAL))
        return begins, self._end

    def _likeness(self, data: bytes) -> Likeness | None:
        if self._template is not None and (found := self._template.likeness(data)):
            return found
        found = likeness(data)
        if found is not None:
            self._template = template(found)
            self._end = found.after + _EVENT_END
        return found
