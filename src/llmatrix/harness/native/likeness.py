"""What successive events of a stream have in common, so that the next one need not be parsed.

From one token to the next, nothing in an event changes but the text. Once an event has been read,
``likeness`` gives the bytes before and after its text, and another event with the same bytes there,
and plain text between them, means the same: a part of the answer, and nothing else. It is proved,
not supposed: the event is read again with another text, and must differ in nothing but that.

A server that sends each event as one chunk (RFC 9112, section 7.1) which comes as one read has the
chunk's line before it, which tells the length; so how a read begins is known from its length, and
a read that begins and ends as ``reads_like`` says is one whole chunk.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import orjson

LONGEST: Final = 4096
"""Bytes of a read from which on it is always parsed."""
PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
"""ASCII that stands for itself in a JSON string."""
_DATA: Final = b"data: "
_EVENT_END: Final = b"\n\n\r\n"
_OTHER: Final = "another text"
_ENDS: Final = len(b"\r\n\r\n")


class Likeness(NamedTuple):
    """The bytes before and after the text of an event's data."""

    before: bytes
    after: bytes


def plain(text: bytes) -> bool:
    """Tell whether bytes stand for themselves in a JSON string."""
    if not text.strip(PLAIN):
        return True
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return False
    return decoded.isprintable() and '"' not in decoded and "\\" not in decoded


def likeness(data: bytes) -> Likeness | None:
    """Find what surrounds the text of an event's data; None where it does more than give text.

    With any plain text between, the data is valid JSON and gives that text as a part of the
    answer; it neither fails nor finishes nor counts tokens. Data of several lines has no likeness.
    """
    if b"\n" in data or b"\r" in data:
        return None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    place = _place(document)
    if place is None:
        return None
    holder, key = place
    text = holder[key].encode()
    at = data.find(b'"%b"' % text) + 1
    if not at:
        return None
    before, after = data[:at], data[at + len(text) :]
    try:
        other = orjson.loads(b"%b%b%b" % (before, _OTHER.encode(), after))
    except orjson.JSONDecodeError:
        return None
    holder[key] = _OTHER
    return Likeness(before, after) if other == document else None


def _place(document: Any) -> tuple[dict[str, Any], str] | None:
    """Find the text of a document that gives text and does nothing else: its object, its key."""
    if not isinstance(document, dict) or document.get("error") or document.get("usage"):
        return None
    choices = document.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return None
    choice = choices[0]
    if document.get("object") == "error" or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    holder, key = (choice, "text") if choice.get("text") else (delta, "content")
    if not (isinstance(holder, dict) and isinstance(holder.get(key), str) and holder[key]):
        return None
    return holder, key


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


@cache
def chunk_line(size: int, style: str) -> bytes | None:
    """Give the line of the chunk that, with it and its end, is ``size`` bytes; None if none is."""
    for digits in (1, 2, 3):
        length = size - digits - _ENDS
        if length > 0 and len(f"{length:x}") == digits:
            return f"{length:{style}}\r\n".encode()
    return None


def reads_like(data: bytes) -> tuple[Beginnings, bytes] | None:
    """Find how reads begin and end, around their text, that hold an event like the last of a read.

    None where that event has no likeness, or does not end the read.
    """
    before, _, event = data.rpartition(b"\n" + _DATA)
    if not event.endswith(_EVENT_END) or len(event) >= LONGEST:
        return None
    found = likeness(event.removesuffix(_EVENT_END))
    if found is None:
        return None
    length = len(_DATA) + len(event) - len(b"\r\n")
    style = "x" if before.endswith(b"%x\r" % length) else "X"
    return Beginnings(_DATA + found.before, style), found.after + _EVENT_END
