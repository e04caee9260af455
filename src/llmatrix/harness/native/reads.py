"""How reads look that hold one event of a stream each, and need not be parsed.

A server that sends each event as one chunk (RFC 9112, section 7.1) which comes as one read has the
chunk's line before it, which tells the length; so how a read begins is known from its length, and
a read that begins and ends as ``Reads.like`` says is one whole chunk.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from llmatrix.harness.native.likeness import Template, likeness, template

LONGEST: Final = 4096
"""Bytes of a read from which on it is always parsed."""
_DATA: Final = b"data: "
_EVENT_END: Final = b"\n\n\r\n"
_ENDS: Final = len(b"\r\n\r\n")


class Beginnings(dict[int, bytes]):
    """How a read begins, by its length, that is one chunk with a certain event in it.

    Args:
        before: how the event begins.
        style: ``x`` or ``X``, as the server writes the hexadecimal digits of the chunk's line.
    """

    __slots__ = ("_style", "before")

    def __init__(self, before: bytes, style: str) -> None:
        self.before = before
        self._style = style

    def __missing__(self, size: int) -> bytes:
        line = chunk_line(size, self._style) if size < LONGEST else None
        if line is None:
            return b" " * (size + 1)  # longer than the read, so none begins with it
        self[size] = begins = line + self.before
        return begins


@cache
def chunk_line(size: int, style: str) -> bytes | None:
    """Give the line of the chunk that, with it and its end, is ``size`` bytes; None if none is."""
    for digits in (1, 2, 3):
        length = size - digits - _ENDS
        if length > 0 and len(f"{length:x}") == digits:
            return f"{length:{style}}\r\n".encode()
    return None


class Reads:
    """How the reads of one server's answers look; what one answer taught serves the others.

    Attributes:
        end: how a read ends that holds an event like those that were learnt from.
    """

    __slots__ = ("_event", "_style", "_template", "end")

    def __init__(self) -> None:
        self._template: Template | None = None
        self._event: Template | None = None
        self._style = "x"
        self.end = b""

    def known(self, event: bytes) -> tuple[Beginnings, bytes] | None:
        """Give how reads begin that hold an event like this one, and the text of this one.

        None where the event is not like one that was learnt from, but for its id and its text.
        """
        if self._event is None or (found := self._event.text(event)) is None:
            return None
        before, said = found
        return Beginnings(before, self._style), said

    def like(self, data: bytes) -> tuple[Beginnings, bytes] | None:
        """Find how reads begin and end, around their text, that hold an event like a read's last.

        None where that event has no likeness, or does not end the read.
        """
        before, _, event = data.rpartition(b"\n" + _DATA)
        if not event.endswith(_EVENT_END) or len(event) >= LONGEST:
            return None
        length = len(_DATA) + len(event) - len(b"\r\n")
        style = "x" if before.endswith(b"%x\r" % length) else "X"
        found = self._likeness(event.removesuffix(_EVENT_END), style)
        return None if found is None else (Beginnings(_DATA + found, style), self.end)

    def _likeness(self, data: bytes, style: str) -> bytes | None:
        """Give what comes before the text of an event's data; None where it has no likeness."""
        if self._template is not None and (known := self._template.text(data)):
            return known[0]
        found = likeness(data)
        if found is None:
            return None
        self._template = made = template(found)
        self._event = None
        if made is not None:
            self._event = Template(_DATA + made.before, made.between, made.after + b"\n\n")
        self._style = style
        self.end = found.after + _EVENT_END
        return found.before
