"""How reads look that hold one event of a stream each, and need not be parsed.

A server that sends each event as one chunk (RFC 9112, section 7.1) which comes as one read has the
chunk's line before it, which tells the length; so how a read begins is known from its length, and
a read that begins and ends as ``Reads.like`` says is one whole chunk.
"""

from __future__ import annotations

from typing import Final

from llmatrix.harness.native.chunks import CHUNK_END
from llmatrix.harness.native.endings import Ending, Endings
from llmatrix.harness.native.likeness import Found, Template, likeness, template

LONGEST: Final = 4096
"""Bytes of a read from which on it is always parsed."""
MOST_HEADS: Final = 64
"""Heads of answers that are remembered; one with a date in it is another each second."""
_DATA: Final = b"data: "
_CHUNKED: Final = b"\r\ntransfer-encoding: chunked\r\n"
_EVENT_END: Final = b"\n\n"
_ENDS: Final = len(b"\r\n\r\n")


class Lines(dict[int, bytes]):
    """The line that begins a read of one chunk, by the read's length.

    Args:
        style: ``x`` or ``X``, as the server writes hexadecimal digits.
    """

    __slots__ = ("_style",)

    def __init__(self, style: str) -> None:
        self._style = style

    def __missing__(self, size: int) -> bytes:
        for digits in (1, 2, 3):
            length = size - digits - _ENDS
            if length > 0 and len(f"{length:x}") == digits:
                self[size] = line = f"{length:{self._style}}\r\n".encode()
                return line
        return b" " * (size + 1)  # longer than the read, so none begins with it


_LINES: Final = {style: Lines(style) for style in ("x", "X")}


class Beginnings(dict[int, bytes]):
    """What begins a read of one chunk up to the text of its event, by the read's length.

    Args:
        lines: the line of the chunk.
        before: what comes between it and the text.
    """

    __slots__ = ("_before", "_lines")

    def __init__(self, lines: Lines, before: bytes) -> None:
        self._lines = lines
        self._before = before

    def __missing__(self, size: int) -> bytes:
        beginning = self._lines[size] + self._before
        if size < LONGEST:
            self[size] = beginning
        return beginning


class Reads:
    """How the reads of one server's answers look; what one answer taught serves the others.

    Attributes:
        lines: how a read begins that holds an event like those that were learnt from.
        end: how it ends.
        event: such an event, with any id and any text; None where there is none yet.
        heads: heads of answers that were whole streams in chunks, and left the connection fit for
            another request; and which server each named.
    """

    __slots__ = ("_endings", "end", "event", "heads", "lines")

    def __init__(self) -> None:
        self._endings = Endings()
        self.event: Template | None = None
        self.lines = _LINES["x"]
        self.end = b""
        self.heads: dict[bytes, str | None] = {}

    def learn_head(self, head: bytes, server: str | None) -> None:
        """Remember the head of a whole stream, if it came in chunks."""
        if _CHUNKED in head.lower() + b"\r\n":
            if len(self.heads) >= MOST_HEADS:
                self.heads.clear()
            self.heads[head] = server

    def found(self, event: bytes) -> Found | None:
        """Find what differs from answer to answer in an event; None where more does."""
        return None if self.event is None else self.event.find(event)

    def ending(self, data: bytes, name: bytes) -> Ending | None:
        """Give what is known of the end of an answer whose ``id`` is ``name``."""
        event = self.event
        return None if event is None else self._endings.find(data, event.before, name)

    def like(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Learn from the event that ends a read; give what comes before its text, and its id.

        None where that event has no likeness, or does not end the read; the id is empty where it
        cannot be told.
        """
        before, _, event = data.rpartition(b"\n" + _DATA)
        if not event.endswith(_EVENT_END + CHUNK_END) or len(event) >= LONGEST:
            return None
        event = _DATA + event.removesuffix(CHUNK_END)
        style = "x" if before.endswith(b"%x\r" % len(event)) else "X"
        known = self.found(event)
        if known is None:
            start = self._learn(event, style)
            known = None if start is None else self.found(event) or Found(start, b"", b"")
        return None if known is None else (known.before, known.name)

    def _learn(self, event: bytes, style: str) -> bytes | None:
        """Give what comes before the text of an event; None where it has no likeness."""
        found = likeness(event.removeprefix(_DATA).removesuffix(_EVENT_END))
        if found is None:
            return None
        made = template(found)
        self.event = None
        if made is not None:
            self.event = Template(_DATA + made.before, made.between, made.after + _EVENT_END)
        self.lines = _LINES[style]
        self.end = found.after + _EVENT_END + CHUNK_END
        return _DATA + found.before
