"""Requests that ended, put aside on disk: memory does not grow with the length of a run.

Each is a fixed head, three texts and the stamps. A spool holds them in the order in which they
ended; ``in_order`` gives those of all shards in the order of their schedule, holding no more in
memory than the requests that overtook each other.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from llmatrix.harness.native.answer import MOMENT, Exchange
from llmatrix.harness.native.forms import Prompt
from llmatrix.harness.native.schedule import PHASES

_HEAD: Final = struct.Struct("<4q2iB6ih?3I")
_BUFFER: Final = 256 * 1024
_NONE: Final = -1
_AT_ONCE: Final = 64
_PLACES: Final = {phase: place for place, phase in enumerate(PHASES)}


def _given(value: int) -> int | None:
    return None if value == _NONE else value


class Spool:
    """Writes ended requests to a file; the secret is blotted out of what a server echoed.

    They are written 64 at a time, which costs a part of what it does to write each on its own
    between two turns of the loop, when its code has left the processor's caches.
    """

    def __init__(self, path: Path, secret: str | None = None) -> None:
        self._secret = secret
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb", buffering=_BUFFER)
        self._ended: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        """Put one aside; it must have ended."""
        self._ended.append(exchange)
        if len(self._ended) >= _AT_ONCE:
            self._write()

    def _write(self) -> None:
        self._file.write(b"".join([part for each in self._ended for part in self._parts(each)]))
        self._ended.clear()

    def _parts(self, one: Exchange) -> Iterable[bytes | array[int]]:
        server = b"" if one.server is None else one.server.encode()
        error = b"" if one.error is None else one.error.encode()
        detail = one.detail or ""
        if detail and self._secret:
            detail = detail.replace(self._secret, "***")
        told = detail.encode()
        head = _HEAD.pack(
            one.number,
            one.scheduled,
            _NONE if one.sent is None else one.sent,
            _NONE if one.end is None else one.end,
            _NONE if one.group is None else one.group,
            _NONE if one.turn is None else one.turn,
            _PLACES[one.phase],
            one.place,
            _NONE if one.prompt_asked is None else one.prompt_asked,
            one.output_asked,
            _NONE if one.prompt_tokens is None else one.prompt_tokens,
            _NONE if one.cached_tokens is None else one.cached_tokens,
            _NONE if one.output_tokens is None else one.output_tokens,
            _NONE if one.status is None else one.status,
            one.finished,
            len(server) << 16 | len(error),
            len(told),
            len(one.stamps),
        )
        return head, server, error, told, one.stamps

    def close(self) -> None:
        """Write what is left."""
        self._write()
        self._file.close()


def read(path: Path) -> Iterator[Exchange]:
    """Give the requests of one spool in the order in which they ended."""
    with path.open("rb", buffering=_BUFFER) as file:
        while head := file.read(_HEAD.size):
            yield _exchange(file, *_HEAD.unpack(head))


def _exchange(file: BinaryIO, *head: int) -> Exchange:
    number, scheduled, sent, end, group, turn, phase, place, *rest = head
    prompt_asked, output_asked, prompt, cached, output, status, finished, texts, detail, stamps = (
        rest
    )
    asks = Prompt([], _given(prompt_asked), output_asked, _given(group), _given(turn))
    found = Exchange(number, PHASES[phase], scheduled, place=place, asks=asks)
    found.sent, found.end, found.status = _given(sent), _given(end), _given(status)
    found.prompt_tokens, found.cached_tokens = _given(prompt), _given(cached)
    found.output_tokens, found.finished = _given(output), bool(finished)
    found.server = file.read(texts >> 16).decode() or None
    found.error = file.read(texts & 0xFFFF).decode() or None
    found.detail = file.read(detail).decode() or None
    found.stamps = array(MOMENT, file.read(8 * stamps))
    return found


def _by_place(exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
    """Give the requests of one shard in the order in which they fell due."""
    ahead: list[tuple[int, Exchange]] = []
    wanted = 0
    for exchange in exchanges:
        heapq.heappush(ahead, (exchange.place, exchange))
        while ahead and ahead[0][0] == wanted:
            yield heapq.heappop(ahead)[1]
            wanted += 1
    yield from (heapq.heappop(ahead)[1] for _ in range(len(ahead)))


def in_order(paths: Iterable[Path]) -> Iterator[Exchange]:
    """Give the requests of all spools in the order of their schedule."""
    shards = (_by_place(read(path)) for path in paths)
    return heapq.merge(*shards, key=lambda exchange: (exchange.scheduled, exchange.number))
