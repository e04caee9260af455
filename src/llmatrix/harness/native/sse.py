"""Server-sent events out of a stream of bytes, however it was cut into reads.

Follows the WHATWG grammar (lines ended by LF, CR or CRLF; comments; fields; an event ends at an
empty line), and is as tolerant as clients are: an event that the end of the stream cuts off is
still given. The result depends on the bytes only, never on how they were split.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_LF_OF_ONE: Final = 2
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """One event grew beyond ``MAX_EVENT_BYTES``."""


class Event(NamedTuple):
    """One event: its name (``b""`` if it has none) and its data, lines joined by LF."""

    name: bytes
    data: bytes


def single(data: bytes) -> Event | None:
    """Give the event of data that is exactly one event, of one line; else None."""
    if (
        data.startswith(b"data: ")
        and data.endswith(b"\n\n")
        and data.count(b"\n") == _LF_OF_ONE
        and b"\r" not in data
    ):
        return Event(b"", data[6:-2])
    return None


class EventParser:
    """Turns reads into events.

    Attributes:
        between: whether an event has ended and nothing has come of the next one.
        first: whether nothing has come at all.
    """

    __slots__ = ("_after_cr", "_data", "_held", "_name", "_partial", "_size", "between", "first")

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._held = 0
        self._size = 0
        self._after_cr = False
        self.first = True
        self.between = True

    def feed(self, read: bytes) -> list[Event]:
        """Take one read; give the events that it completed, in order.

        Raises:
            EventTooLargeError: an event has no end within 16 MiB.
        """
        if self.between and len(read) <= MAX_EVENT_BYTES and (one := single(read)):
            # Nearly every read of a stream.
            self.first = False
            return [one]
        if self._after_cr and read:
            self._after_cr = False
            read = read.removeprefix(b"\n")
        if b"\n" not in read and b"\r" not in read:
            self.between = self.between and not read
            self._hold(read)
            return []
        lines = read.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._after_cr = read.endswith(b"\r")
        if self._partial:
            lines[0] = self._release() + lines[0]
        rest = lines.pop()
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
        self._hold(rest)
        # Nothing is left over: what comes next begins an event.
        self.between = not (rest or self._data or self._name or self._after_cr)
        return events

    def finish(self) -> list[Event]:
        """Say that the stream ended; give the event that it cut off, if any."""
        events: list[Event] = []
        if self._partial:
            self._line(self._release(), events)
        self._line(b"", events)
        return events

    def _hold(self, part: bytes) -> None:
        if part:
            self._partial.append(part)
            self._held += len(part)
            self._check()

    def _release(self) -> bytes:
        held = b"".join(self._partial)
        self._partial.clear()
        self._held = 0
        return held

    def _check(self) -> None:
        if self._held + self._size > MAX_EVENT_BYTES:
            raise EventTooLargeError(
                f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes"
            )

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self.first:
            self.first = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append(Event(self._name, b"\n".join(self._data)))
                self._data.clear()
            self._name = b""
            self._size = 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value)
            self._check()
        elif field == b"event":
            self._name = value
