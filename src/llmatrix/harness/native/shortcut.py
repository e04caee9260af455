"""Reads that hold the events of a stream, each in a chunk of its own, taken without a parser."""

from __future__ import annotations

from array import array

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.chunks import CHUNK_END, LAST_CHUNK, first_chunk
from llmatrix.harness.native.likeness import plain
from llmatrix.harness.native.reads import Beginnings, Reads
from llmatrix.harness.native.sse import single

Like = tuple[Beginnings, bytes, "array[int]", list[str] | None, bytes]
"""What a read is that need not be parsed: how it begins, and ends, around the text of its event;
where its moment goes, and its text (None for nowhere); the answer's ``id``."""


def like(exchange: Exchange, reads: Reads, before: bytes, name: bytes) -> Like:
    """Expect that the next read of an answer holds such an event."""
    begins = Beginnings(reads.lines, before)
    return begins, reads.end, exchange.stamps, exchange.words, name


def taken(data: bytes, now: int, alike: Like, reads: Reads, exchange: Exchange) -> bytes | None:
    """Take the chunks that begin a read and hold an event each; give what is left of it.

    None where all of them were events as expected. Neither parser ever hears of them: whoever calls
    has looked that both are between two chunks, and between two events.

    Args:
        data: the read.
        now: when it came.
        alike: what is expected.
        reads: what is known of the server's answers.
        exchange: whose answer it is.
    """
    begins, end, stamps, words, name = alike
    while exchange.error is None and not exchange.done:
        # No plain text has a quote, with which ``end`` begins: so an event as expected ends there.
        said, found, rest = data.partition(end)
        text = said.removeprefix(begins[len(said) + len(found)])
        # Where nothing is removed, these are the very same bytes.
        if found and text is not said and text and plain(text):
            stamps.append(now)
            if words is not None:
                words.append(text.decode())
            if not rest:
                return None
            data = rest
            continue
        if (known := reads.ending(data, name)) is not None:
            known.tell(exchange)
            return LAST_CHUNK
        cut = first_chunk(data)
        event = None if cut is None else single(cut[0].removesuffix(CHUNK_END))
        if cut is None or event is None:
            break
        exchange.take(event, now)
        data = cut[1]
    return data
