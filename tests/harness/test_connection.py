"""The parser of answers, fed by hand: arbitrary bytes never raise, cuts never matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native import connection as connections
from llmatrix.harness.native.alarm import NEVER, Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.connection import Connection
from llmatrix.harness.native.reads import MOST_HEADS, Beginnings, Reads
from llmatrix.harness.native.sse import Event

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
    taught: Reads | None = None,
) -> tuple[Exchange, Owner]:
    owner = Owner()
    alarm = Alarm(loop, kernel=False)
    connection = Connection(owner, loop, alarm, stream=stream, reads=taught)
    transport = Transport()
    connection.connection_made(transport)
    exchange = Exchange(0, "window", 0)
    exchange.words = []
    connection.send(exchange, NEVER)
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


def part(text: bytes, number: int = 0) -> bytes:
    document = b'{"id":"c%d","choices":[{"index":0,"text":"%b","finish_reason":null}]}'
    return b"data: " + document % (number, text) + b"\n\n"


PARTS = [part(b"a"), part(b" b"), part(b"c c"), part(b"\xc3\xa9"), part(b" b", 1)]
HARMLESS = [
    *PARTS,
    part(b""),
    part(b"\\n"),
    part(b'\\"'),
    part("\u2028".encode()),
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"b","reasoning":null}}]}\n\n',
    b'data: {"choices":[{"text":"x"}],"usage":{"completion_tokens":3}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n',
    b'data: {"id":"c0","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    part(b"a").replace(b"\n", b"\r\n"),
    part(b"a").replace(b",", b",\ndata:"),
    part(b"a")[:-1],
    b"event: token\n",
    b": note\n\n",
    b"\n",
]
HARMFUL = [
    *(
        part(text)
        for text in (b'"', b"\\", b"\n", b"\n\n", b"\r", b"\t", b"\x00", b"\xff", b"\xed\xa0\x80")
    ),
    part(b'","x":"'),
    part(b'"}],"error":"no","choices":[{"text":"a'),
    part(b'","text":"'),
    part(b"a").replace(b"null", b'"ab"'),
    part(b"a").replace(b'"id":"c0"', b'"error":1'),
    b'data: x","finish_reason":null}]}\n\n',
    b'x","finish_reason":null}]}\n\n',
    b"data: [DONE]\n\n",
    b"event: error\n",
    b"data: {}\n",
    b"data: {\n\n",
]
STYLES = st.sampled_from(["x", "x", "X", "02x", "04X"])


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Give the reads of an answer: mostly an event to a chunk, and a chunk to a read."""
    many = st.lists(st.sampled_from(PARTS), max_size=6)
    some = st.lists(st.sampled_from(HARMLESS), max_size=6)
    few = st.lists(st.sampled_from(HARMFUL), max_size=1)
    style = draw(STYLES)
    chunks = [
        f"{len(event):{style}}\r\n".encode() + event + b"\r\n"
        for kind in (some, many, few, many, some, few, many)
        for event in draw(kind)
    ]
    reads = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]
    if draw(st.booleans()) and chunks:
        wrong = bytearray(reads.pop(at := draw(st.integers(1, len(chunks)))))
        wrong[draw(st.integers(0, len(wrong) - 1))] = draw(st.sampled_from(b'0123af"{}:x\r\n'))
        reads.insert(at, bytes(wrong))
    if draw(st.booleans()):
        return reads
    ends = [sum(map(len, reads[: n + 1])) for n in range(len(reads))]
    kept = [end for end in ends if draw(st.integers(0, 5))]
    return cut(b"".join(reads), kept + draw(st.lists(st.integers(0, 100_000), max_size=3)))


def everything(exchange: Exchange) -> dict[str, object]:
    return {name: getattr(exchange, name) for name in Exchange.__slots__}


def chunked(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


BEGIN = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DONE = chunked(b"data: [DONE]\n\n")


def lesson(loop: asyncio.AbstractEventLoop) -> Reads:
    """Give what a server's answer before has taught."""
    reads = Reads()
    whole = [BEGIN + chunked(part(b"a", 7)), chunked(part(b"b", 7)), DONE, b"0\r\n\r\n"]
    receive(loop, whole, taught=reads)
    assert reads.event is not None
    assert reads.heads == {BEGIN.removesuffix(b"\r\n\r\n"): "p1"}
    return reads


def test_heads_of_whole_streams_in_chunks_are_remembered_and_not_too_many(
    loop: asyncio.AbstractEventLoop,
) -> None:
    reads, body = Reads(), chunked(part(b"a")) + DONE + b"0\r\n\r\n"
    for number in range(MOST_HEADS + 2):
        dated = BEGIN.replace(b"X-", b"Date: %d\r\nX-" % number)
        exchange, _ = receive(loop, [dated + body], taught=reads)
        assert (exchange.error, exchange.server) == (None, "p1")
    assert len(reads.heads) == 2


@pytest.mark.parametrize(
    "taught",
    [
        [HEAD + b"Content-Length: 14\r\n\r\n", b"data: [DONE]\n\n"],
        [HEAD + b"Content-Length: 14\r\nX: transfer-encoding: chunked\r\n\r\ndata: [DONE]\n\n"],
        [HEAD + b"Transfer-Encoding: chunked", b"\r\n\r\n" + DONE + b"0\r\n\r\n"],
        [BEGIN[:-2] + b"Connection: close\r\n\r\n" + DONE + b"0\r\n\r\n"],
        [BEGIN + chunked(part(b"a")) + b"0\r\n\r\n"],
        [BEGIN.replace(b"200 OK", b"201 Made") + DONE + b"0\r\n\r\n"],
        [BEGIN.replace(b"event-stream", b"html") + DONE + b"0\r\n\r\n"],
    ],
)
def test_no_other_head_is_remembered(loop: asyncio.AbstractEventLoop, taught: list[bytes]) -> None:
    reads = Reads()
    receive(loop, taught, taught=reads)
    assert reads.heads == {}


def told(
    loop: asyncio.AbstractEventLoop, reads: list[bytes], known: Reads, *, parsed: bool = False
) -> tuple[object, ...]:
    """Give all that is known of an answer, and of its connection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "monotonic_ns", count(1).__next__)
        if parsed:
            patch.setattr(Reads, "like", lambda *_: None)
        exchange, owner = receive(loop, reads, taught=known)
    assert owner.ends == [exchange]
    return everything(exchange), owner.idles, owner.resends


def means_the_same(loop: asyncio.AbstractEventLoop, reads: list[bytes]) -> None:
    """Fail unless an answer means what it would if it were parsed: the first, and later ones."""
    known, headless = lesson(loop), lesson(loop)
    for name in (b'"c0"', b'"c0"', b'"c9"'):
        these = [read.replace(b'"c0"', name) for read in reads]
        truth = told(loop, these, Reads(), parsed=True)
        assert told(loop, these, Reads()) == truth
        assert told(loop, these, known) == truth
        headless.heads.clear()
        assert told(loop, these, headless) == truth


@given(reads=streams())
def test_a_read_that_is_not_parsed_means_what_it_would_if_it_were(
    loop: asyncio.AbstractEventLoop, reads: list[bytes]
) -> None:
    means_the_same(loop, reads)


ODD = [
    b"",
    b"\r\n",
    *(chunked(part(b"x")).replace(b"\r\n", line, 1) for line in (b" \r\n", b";x=1\r\n", b"\n")),
    *(before + chunked(part(b"x")) for before in (b"0", b"+", b"0x", b"_", b"\r\n", b"fff")),
    *(chunked(part(b"x"))[:-2] + after for after in (b"", b"\r", b"ab", b"\n\r", b"\r\r\n")),
    *(b"%x\r\n%b\r\n" % (len(part(b"x")) + more, part(b"x")) for more in (-2, -1, 1, 2, 90)),
    chunked(part(b"x") + part(b"y")),
    chunked(part(b"x")[:-1]) + chunked(b"\n"),
    chunked(part(b"x")[:20]) + chunked(part(b"x")[20:]),
    chunked(part(b"x" * 5000)),
    chunked(b"\xef\xbb\xbf" + part(b"x")),
    b"0\r\n\r\n",
    b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
]


@pytest.mark.parametrize("odd", [*map(chunked, HARMLESS), *map(chunked, HARMFUL), *ODD])
def test_chunks_that_come_together_mean_what_they_would_if_they_were_parsed(
    loop: asyncio.AbstractEventLoop, odd: bytes
) -> None:
    one, other = chunked(part(b"a")), chunked(part(b" b"))
    done = DONE
    for reads in (
        [one, odd + other],
        [one, other + odd],
        [one, odd, other],
        [one, other + odd + other, other],
        [one + odd, other],
        [odd, one, other],
        [odd + one + other],
        [one, done + odd],
        [one, odd + done],
        [one, other, odd + done + b"0\r\n\r\n"],
    ):
        means_the_same(loop, [BEGIN, *reads, done, b"0\r\n\r\n"])
        means_the_same(loop, [BEGIN + reads[0], *reads[1:], done + b"0\r\n\r\n"])
        means_the_same(loop, [BEGIN + reads[0], *reads[1:], b"0\r\n\r\n"])
        finish, error = (
            chunked(part(b"a").replace(b"null", b'"x"')),
            chunked(b'data: {"error":1}\n\n'),
        )
        means_the_same(loop, [BEGIN + reads[0], *reads[1:], finish + error + b"0\r\n\r\n"])


@pytest.mark.parametrize(
    "reads",
    [
        [BEGIN[:-4]],
        [BEGIN],
        [BEGIN, chunked(part(b"a"))],
        [BEGIN + chunked(part(b"a")), chunked(part(b" b"))],
        [BEGIN + chunked(part(b"a")), chunked(part(b" b"))[:-3]],
        [BEGIN + chunked(part(b"a")), DONE],
        [BEGIN + chunked(part(b"a")), DONE + b"0\r\n"],
    ],
)
def test_an_answer_that_is_cut_off_means_what_it_would_if_it_were_parsed(
    loop: asyncio.AbstractEventLoop, reads: list[bytes]
) -> None:
    means_the_same(loop, reads)


@pytest.mark.parametrize("parsed", [True, False])
def test_answers_of_one_connection_do_not_mix(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, *, parsed: bool
) -> None:
    if parsed:
        monkeypatch.setattr(Reads, "like", lambda *_: None)
    owner = Owner()
    connection = Connection(owner, loop, Alarm(loop, kernel=False), reads=Reads())
    connection.connection_made(Transport())
    usage = b'data: {"id":"c%d","choices":[],"usage":{"completion_tokens":%d}}\n\n'
    for number, pod in enumerate(b"1121112222111221"):
        exchange = Exchange(number, "window", 0)
        exchange.words = []
        connection.send(exchange, NEVER)
        counted = chunked(usage % (number % 10, pod - 48))
        tokens = [chunked(part(b"%c" % letter, number % 10)) for letter in b"abcd"[: pod - 46]]
        if number % 3 == 2:
            tokens.insert(2, chunked(b": all of this answer has to be parsed\n\n"))
        whole = [BEGIN.replace(b"p1", b"p%c" % pod), *tokens, counted + DONE + b"0\r\n\r\n"]
        for read in whole if number % 2 else [whole[0] + whole[1], *whole[2:]]:
            connection.data_received(read)
        assert owner.ends.pop() is exchange
        assert (exchange.error, exchange.server) == (None, f"p{pod - 48}")
        assert exchange.words == list("abcd"[: pod - 46])
        assert exchange.output_tokens == pod - 48
    assert owner.idles == 16
    connection.connection_lost(None)


def test_beginnings_of_long_reads_are_not_kept() -> None:
    begins = Beginnings(Reads().lines, b"data: ")
    assert not (b" " * 5000 + b"data: ").startswith(begins[5000])
    assert begins[104] == b"62\r\ndata: "
    assert begins == {104: b"62\r\ndata: "}


def test_an_event_that_the_end_cuts_off_is_still_taken(loop: asyncio.AbstractEventLoop) -> None:
    usage = b'data: {"choices":[],"usage":{"completion_tokens":1}}'
    for last in (usage, usage + b"\n", usage + b"\n\n"):
        reads = [BEGIN + chunked(part(b"a")), chunked(last), b"0\r\n\r\n"]
        exchange, _ = receive(loop, reads)
        assert (exchange.error, exchange.output_tokens) == (None, 1)
        means_the_same(loop, reads)


@pytest.mark.parametrize(
    ("reads", "error", "stamps"),
    [
        # It comes after the end.
        ([chunked(b"data: [DONE]\n\n"), chunked(part(b"b"))], "stream", 1),
        # It goes on with the event before.
        ([chunked(part(b"a")[:-1]), chunked(part(b"b"))], "stream", 1),
        # The end that its line tells of does not come.
        ([chunked(part(b"a" * 50)).partition(b"a" * 50)[0].ljust(130, b"a")], "protocol", 1),
        # It has no line.
        ([b"a" + chunked(part(b"")).partition(b'"text":"')[2]], "protocol", 1),
        # It is the middle of a chunk.
        ([b"a0\r\n: \n\n\r\n", chunked(part(b"a")), b" " * 73 + b"\r\n"], None, 2),
        # Its line began in the read before.
        (
            [
                chunked(part(b"a")) + b"1",
                chunked(part(b"a" * 0x50)),
                b": note".ljust(0x100 - 4) + b"\n\n\r\n",
            ],
            None,
            3,
        ),
    ],
)
def test_what_only_looks_like_an_event_is_none(
    loop: asyncio.AbstractEventLoop, reads: list[bytes], error: str, stamps: int
) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    end = chunked(b"\n\ndata: [DONE]\n\n") + b"0\r\n\r\n"
    exchange, owner = receive(loop, [head + chunked(part(b"a")), *reads, end])
    assert (exchange.error, len(exchange.stamps)) == (error, stamps), exchange.detail
    assert owner.idles == (error is None)


def test_an_event_after_the_answer_belongs_to_none(loop: asyncio.AbstractEventLoop) -> None:
    owner, transport = Owner(), Transport()
    connection = Connection(owner, loop, Alarm(loop, kernel=False))
    connection.connection_made(transport)
    exchange = Exchange(0, "window", 0)
    connection.send(exchange, NEVER)
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    connection.data_received(head + chunked(part(b"a")))
    connection.data_received(chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    assert (owner.idles, len(exchange.stamps), transport.aborted) == (1, 1, False)
    connection.data_received(chunked(part(b"a")))
    assert (len(exchange.stamps), transport.aborted) == (1, True)
    connection.connection_lost(None)
    assert owner.ends == [exchange]


def test_reads_like_the_one_before_are_not_parsed(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    take = Exchange.take

    def taken(exchange: Exchange, event: Event, now: int) -> None:
        parsed.append(event.data)
        take(exchange, event, now)

    monkeypatch.setattr(Exchange, "take", taken)
    events = [part(b" w%d" % number) for number in range(50)] + [b"data: [DONE]\n\n"]
    chunks = [chunked(event) for event in events]
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    exchange, _ = receive(loop, [head + chunks[0], *chunks[1:], b"0\r\n\r\n"])
    assert exchange.error is None
    assert exchange.words == [f" w{number}" for number in range(50)]
    assert parsed == [events[0][6:-2], b"[DONE]"]
    assert exchange.done


def test_what_is_due_is_not_kept_waiting_by_reads(loop: asyncio.AbstractEventLoop) -> None:
    alarm = Alarm(loop, kernel=False)
    rung: list[int] = []
    connection = Connection(Owner(), loop, alarm)
    connection.connection_made(Transport())
    connection.send(Exchange(0, "window", 0), NEVER)
    alarm.at(2**62, lambda: rung.append(2))
    alarm.at(0, lambda: rung.append(1))
    assert not rung
    connection.data_received(HEAD)
    assert rung == [1]
    assert alarm.due == 2**62
    alarm.close()
    assert alarm.due == NEVER
    connection.abort("aborted", "the test is over")


class Clock:
    """A loop that has nothing but timers, and a clock that stands still between them."""

    def __init__(self) -> None:
        self.now = 0
        self.timers: list[tuple[int, Callable[[], None]]] = []

    def monotonic_ns(self) -> int:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        timer = (self.now + round(seconds * 1e9), call)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer))

    def pass_until(self, now: int) -> None:
        while due := [timer for timer in self.timers if timer[0] <= now]:
            timer = min(due, key=lambda each: each[0])
            self.timers.remove(timer)
            self.now, call = timer
            call()
        self.now = now


def test_each_request_has_its_own_deadline_although_they_share_a_timer(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    clock = Clock()
    monkeypatch.setattr(connections, "monotonic_ns", clock.monotonic_ns)
    owner = Owner()
    alarm = Alarm(loop, kernel=False)
    connection = Connection(owner, cast("asyncio.AbstractEventLoop", clock), alarm)
    connection.connection_made(Transport())
    in_time = answer(GOOD, len(GOOD))
    for sent, timeout in ((0, 10.0), (6 * 10**9, 10.0), (7 * 10**9, 5.0)):
        clock.pass_until(sent)
        assert len(clock.timers) <= 1
        connection.send(Exchange(0, "window", 0), sent + round(timeout * 1e9))
        assert len(clock.timers) == 1
        if sent < 7 * 10**9:
            clock.pass_until(sent + 10**9)
            connection.data_received(in_time)
    clock.pass_until(12 * 10**9 - 1)
    assert len(owner.ends) == 2
    clock.pass_until(12 * 10**9)
    assert [exchange.error for exchange in owner.ends] == [None, None, "timeout"]
    connection.connection_lost(None)
    assert not clock.timers


def test_a_timer_of_a_request_before_is_set_anew(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    clock = Clock()
    monkeypatch.setattr(connections, "monotonic_ns", clock.monotonic_ns)
    owner = Owner()
    alarm = Alarm(loop, kernel=False)
    connection = Connection(owner, cast("asyncio.AbstractEventLoop", clock), alarm)
    connection.connection_made(Transport())
    connection.send(Exchange(0, "window", 0), 10**10)
    connection.data_received(answer(GOOD, len(GOOD)))
    clock.pass_until(4 * 10**9)
    connection.send(Exchange(1, "window", 0), 14 * 10**9)
    clock.pass_until(14 * 10**9 - 1)
    assert len(owner.ends) == 1
    clock.pass_until(14 * 10**9)
    assert [exchange.error for exchange in owner.ends] == [None, "timeout"]
    assert owner.ends[1].end == 14 * 10**9
