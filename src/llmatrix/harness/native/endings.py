"""How answers end that need not be parsed: the events after the last text, in chunks.

Where every answer of a trial has as many tokens, the ends of two answers differ in nothing but the
answer's ``id``. What an end tells is found once, by reading it as any other; and it is proved that
the ``id`` has no part in it, by reading it again with another in its place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.chunks import CHUNK_END, LAST_CHUNK, first_chunk
from llmatrix.harness.native.sse import single

MOST: Final = 64
"""Ends that are remembered."""
_BARE: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Ending(NamedTuple):
    """What an end tells: the counts that it gives, None for those that it does not."""

    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None

    def tell(self, exchange: Exchange) -> None:
        """Note it, as if its events had been read."""
        prompt, cached, output = self
        if prompt is not None:
            exchange.prompt_tokens = prompt
        if cached is not None:
            exchange.cached_tokens = cached
        if output is not None:
            exchange.output_tokens = output
        exchange.finished = exchange.done = True


_NOTHING: Final = Ending(None, None, None)


class Endings:
    """The ends of one server's answers, each known from its second time on.

    One that comes once only, because it counts something else each time, is not worth a proof.
    """

    __slots__ = ("_before", "_known")

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes, bytes], Ending | None] = {}
        self._before: tuple[int, bytes, bytes] | None = None

    def find(self, data: bytes, opening: bytes, name: bytes) -> Ending | None:
        """Give what is known of a read's rest that is whole chunks and ends the body, or learn it.

        None where it has to be read.

        Args:
            data: the rest; nothing but chunks of whole events may have come before.
            opening: what comes before an event's ``id``.
            name: the answer's ``id``; plain text, and in the place where events have it.
        """
        if not data.endswith(LAST_CHUNK):
            return None
        if data == _BARE:
            return _NOTHING
        line, _, rest = data.partition(opening + name)
        # The length: a chunk's line was found true with an id of that length only.
        key = len(data), line, rest
        known = self._known
        if key in known:
            return known[key]
        if key != self._before:
            self._before = key
            return None
        if len(known) >= MOST:
            known.clear()
        other = (b"1" if name.startswith(b"0") else b"0") * len(name)
        told = _read(data)
        same = told == _read(data.replace(opening + name, opening + other, 1))
        known[key] = told if same else None
        return known[key]


def _read(data: bytes) -> Ending | None:
    """Read an end; None where it is anything but counts, ``[DONE]`` and the last chunk."""
    exchange = Exchange(0, "window", 0)
    while data != LAST_CHUNK:
        cut = None if exchange.done else first_chunk(data)
        event = None if cut is None else single(cut[0].removesuffix(CHUNK_END))
        if cut is None or event is None:
            return None
        exchange.take(event, 0)
        data = cut[1]
    if exchange.error is not None or exchange.stamps or not exchange.done:
        return None
    return Ending(exchange.prompt_tokens, exchange.cached_tokens, exchange.output_tokens)
