"""Chunks that hold an event of a stream each (RFC 9112, section 7.1), taken without a parser."""

from __future__ import annotations

from array import array
from typing import Final

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.likeness import plain_up_to
from llmatrix.harness.native.reads import Beginnings
from llmatrix.harness.native.sse import single

CHUNK_END: Final = b"\r\n"
_DONE: Final = b"data: [DONE]\n\n\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_DIGITS: Final = 3
"""Digits of a chunk's size; one of more is left to the parser."""

Like = tuple[Beginnings, bytes, bytes, "array[int]", list[str] | None]
"""What a read is that need not be parsed (how it begins; what comes before and after the text of
its event), and where its moment goes, and its text."""


def taken(data: bytes, now: int, like: Like, exchange: Exchange | None) -> bytes | None:
    """Take the chunks that begin a read and hold an event each; give what is left of it.

    None where all of them were events as expected. Neither parser ever hears of them: whoever calls
    has looked that both are between two chunks, and between two events.

    Args:
        data: the read.
        now: when it came.
        like: what is expected.
        exchange: whose answer it is; None where it belongs to none.
    """
    _, before, end, stamps, words = like
    while exchange is not None and exchange.error is None and not exchange.done:
        line, _, rest = data.partition(CHUNK_END)
        if not line or len(line) > _DIGITS or line.strip(_HEX):
            break
        size = int(line, 16)
        chunk = rest[: size + len(CHUNK_END)]
        if len(chunk) != size + len(CHUNK_END) or not chunk.endswith(CHUNK_END):
            break
        text = chunk.removeprefix(before)
        # Where nothing is removed, these are the very same bytes.
        if text is not chunk and plain_up_to(text, end):
            stamps.append(now)
            if words is not None:
                words.append(text.removesuffix(end).decode())
            data = rest[len(chunk) :]
            if not data:
                return None
        elif chunk == _DONE:
            exchange.finished = exchange.done = True
            return rest[len(chunk) :]
        elif (event := single(chunk[:size])) is not None:
            exchange.take(event, now)
            data = rest[len(chunk) :]
        else:
            break
    return data
