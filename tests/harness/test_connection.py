"""The parser of answers, fed by hand: arbitrary bytes never raise, cuts never matter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.connection import Connection

GOOD = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    b": keep-alive\n\n"
    b'data: {"choices":[{"text":"b","finish_reason":null}]}\n\n'
    b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,'
    b'"prompt_tokens_details":{"cached_tokens":3}}}\n\n'
    b"data: [DONE]\n\n"
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Inference-Pod: p1\r\n"


def answer(body: bytes, chunk: int) -> bytes:
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes what is written, and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def writelines(self, list_of_data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Owner:
    """Remembers what became of the exchange."""

    def __init__(self) -> None:
        self.ends: list[Exchange] = []
        self.idles = 0
        self.resends = 0

    def ended(self, exchange: Exchange) -> None:
        self.ends.append(exchange)

    def idle(self, _: Connection) -> None:
        self.idles += 1

    def lost(self, _: Connection) -> None:
        pass

    def again(self, _: Exchange) -> None:
        self.resends += 1


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def receive(
    loop: asyncio.AbstractEventLoop,
    reads: Sequence[bytes],
    *,
    end: bool = True,
    stream: bool = True,
) -> tuple[Exchange, Owner]:
    owner = Owner()
    connection = Connection(owner, loop, stream=stream)
    transport = Transport()
    connection.connection_made(transport)
    exchange = Exchange(0, "window", 0)
    connection.send(exchange, [b"GET"], 1000.0)
    for read in reads:
        if transport.aborted:
            break
        connection.data_received(read)
    if end:
        connection.eof_received()
        connection.connection_lost(None)
    connection.abort("aborted", "the test is over")
    return exchange, owner


def meaning(exchange: Exchange) -> tuple[object, ...]:
    return (
        exchange.error,
        exchange.status,
        exchange.server,
        len(exchange.stamps),
        exchange.prompt_tokens,
        exchange.cached_tokens,
        exchange.output_tokens,
        exchange.finished,
    )


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted({c % (len(stream) + 1) for c in cuts} - {0, len(stream)}), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


@given(cuts=st.lists(st.integers(0, 100_000), max_size=40), chunk=st.integers(1, 400))
def test_a_good_answer_in_any_cut(
    loop: asyncio.AbstractEventLoop, cuts: list[int], chunk: int
) -> None:
    exchange, owner = receive(loop, cut(answer(GOOD, chunk), cuts))
    assert meaning(exchange) == (None, 200, "p1", 2, 7, 3, 2, True)
    assert owner.ends == [exchange]
    assert owner.idles == 1


@given(reads=st.lists(st.binary(min_size=1, max_size=300), max_size=8), end=st.booleans())
def test_arbitrary_bytes_end_as_an_error_and_never_raise(
    loop: asyncio.AbstractEventLoop, reads: list[bytes], *, end: bool
) -> None:
    exchange, owner = receive(loop, reads, end=end)
    assert exchange.error in {"connect", "protocol", "stream", "http", "aborted"}
    assert exchange.detail
    assert owner.ends == [exchange]


@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                [
                    b"data: ",
                    b"\n",
                    b"\r\n",
                    b"[DONE]",
                    b'{"choices":[{"text":"a"}]}',
                    b'{"choices":[null]}',
                    b'{"choices":{"a":1},"usage":[]}',
                    b'{"usage":{"prompt_tokens":-4,"completion_tokens":"x"}}',
                    b'{"usage":{"prompt_tokens":99999999999999}}',
                    b'{"error":{"message":"no"}}',
                    b"[1]",
                    b"{",
                    b"\xff\xfe",
                ]
            ),
            max_size=20,
        ).map(b"".join),
    ),
    cuts=st.lists(st.integers(0, 100_000), max_size=20),
    chunk=st.integers(1, 100),
)
def test_arbitrary_events_mean_the_same_in_any_cut(
    loop: asyncio.AbstractEventLoop, body: bytes, cuts: list[int], chunk: int
) -> None:
    whole, owner = receive(loop, [answer(body, len(body) or 1)])
    parts, _ = receive(loop, cut(answer(body, chunk), cuts))
    assert meaning(parts)[:2] == meaning(whole)[:2]
    if whole.error is None:
        assert meaning(parts) == meaning(whole)
    assert owner.ends == [whole]


WHOLE = (
    b'{"choices":[{"message":{"content":"a b"},"finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":2}}'
)


@given(cuts=st.lists(st.integers(0, 100_000), max_size=20), chunk=st.integers(1, 400))
def test_a_whole_answer_in_any_cut(
    loop: asyncio.AbstractEventLoop, cuts: list[int], chunk: int
) -> None:
    exchange, owner = receive(loop, cut(answer(WHOLE, chunk), cuts), stream=False)
    assert meaning(exchange) == (None, 200, "p1", 1, 7, None, 2, True)
    assert owner.idles == 1


@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.sampled_from([b"", b"[]", b"null", b'{"choices":[{}]}', b'{"choices":[7]}', b"\xff"]),
        st.builds(
            lambda at, byte: WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :],
            st.integers(0, len(WHOLE) - 1),
            st.integers(0, 255),
        ),
    ),
    cuts=st.lists(st.integers(0, 100_000), max_size=20),
    end=st.booleans(),
)
def test_any_whole_answer_ends_its_exchange_once(
    loop: asyncio.AbstractEventLoop, body: bytes, cuts: list[int], *, end: bool
) -> None:
    exchange, owner = receive(loop, cut(answer(body, 50), cuts), end=end, stream=False)
    assert owner.ends == [exchange]
    assert exchange.error in {None, "protocol", "stream", "http", "aborted"}
    assert (exchange.error is None) == exchange.finished
    assert len(exchange.stamps) <= 1


@given(at=st.integers(0, 1500), byte=st.integers(0, 255), cuts=st.lists(st.integers(0, 9999)))
def test_one_wrong_byte_is_survived(
    loop: asyncio.AbstractEventLoop, at: int, byte: int, cuts: list[int]
) -> None:
    stream = bytearray(answer(GOOD, 50))
    stream[at % len(stream)] = byte
    exchange, owner = receive(loop, cut(bytes(stream), cuts))
    assert owner.ends == [exchange]


def test_bytes_after_the_answer_cost_the_connection_only(loop: asyncio.AbstractEventLoop) -> None:
    for extra in (b"HTTP/1.1 200 OK\r\n", b"\x00junk"):
        exchange, owner = receive(loop, [answer(GOOD, 99) + extra])
        assert exchange.error is None
        assert owner.idles == 0


def test_a_connection_that_was_never_idle_is_not_tried_again(
    loop: asyncio.AbstractEventLoop,
) -> None:
    exchange, owner = receive(loop, [])
    assert exchange.error == "connect"
    assert owner.resends == 0
