from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.upstream import Pool, Upstream

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.did: list[str] = []

    def write(self, data: Any) -> None:
        self.did.append(bytes(data).decode())

    def is_closing(self) -> bool:
        return "close" in self.did or "abort" in self.did

    def pause_reading(self) -> None:
        self.did.append("pause")

    def resume_reading(self) -> None:
        self.did.append("resume")

    def close(self) -> None:
        self.did.append("close")

    def abort(self) -> None:
        self.did.append("abort")


class Reader:
    """Takes an answer; may pause after each piece, as a slow client does."""

    def __init__(self, *, slow: bool = False) -> None:
        self.slow = slow
        self.got = b""
        self.ended: bool | None = None
        self.failed = ""
        self.upstream: Upstream | None = None

    def attach(self, upstream: Upstream) -> bool:
        self.upstream = upstream
        return True

    def on_head(self, head: bytes, rest: bytes) -> None:
        self.got += head + b"\r\n"
        self.on_data(rest)

    def on_data(self, data: bytes) -> None:
        self.got += data
        if self.slow and self.upstream is not None:
            self.upstream.pause()

    def on_end(self, *, keep_alive: bool) -> None:
        self.ended = keep_alive

    def on_failure(self, reason: str) -> None:
        self.failed = reason


def connected() -> tuple[Pool, Upstream, Wire]:
    pool = Pool(Endpoint.at("http://10.0.0.1:80"))
    upstream, wire = Upstream(pool), Wire()
    upstream.connection_made(wire)
    return pool, upstream, wire


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_every_byte_of_an_answer_passes_however_it_is_cut(answer: bytes, piece: int) -> None:
    pool, upstream, _ = connected()
    reader = Reader()
    upstream.send(b"ask", reader, reused=False)
    for start in range(0, len(answer), piece):
        assert reader.ended is None
        upstream.data_received(answer[start : start + piece])

    assert (reader.got, reader.ended) == (answer, True)
    assert pool._idle == [upstream]


def test_a_slow_reader_of_one_answer_does_not_stop_the_next() -> None:
    _, upstream, wire = connected()
    upstream.send(b"ask", reader := Reader(slow=True), reused=False)
    reader.attach(upstream)
    upstream.data_received(ANSWER)

    assert wire.did == ["ask", "pause", "resume"]


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, upstream, _ = connected()
    again: list[bytes] = []
    monkeypatch.setattr(pool, "send_new", lambda request, _: again.append(request))
    for reused, expected in ((True, [b"ask"]), (False, [b"ask"])):
        reader = Reader()
        upstream.send(b"ask", reader, reused=reused)
        upstream.connection_lost(None)
        assert again == expected
        assert bool(reader.failed) is not reused


def test_an_answer_that_ends_the_connection_is_not_kept() -> None:
    pool, upstream, wire = connected()
    upstream.send(b"ask", reader := Reader(), reused=False)
    upstream.data_received(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    assert (reader.ended, pool._idle, wire.did[-1]) == (False, [], "close")


def test_what_nobody_asked_for_closes_the_connection() -> None:
    _, upstream, wire = connected()
    upstream.data_received(b"HTTP/1.1 200 OK\r\n")

    assert wire.did == ["close"]
