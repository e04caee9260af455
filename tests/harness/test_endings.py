"""Ends of answers: known from the second time on, whatever the id, and only if that has no part."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.endings import MOST, Ending, Endings
from llmatrix.harness.native.sse import Event

OPENING = b'data: {"id":"'
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"


def end(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + LAST


def usage(counts: dict[str, Any], name: str = "a1") -> bytes:
    return b"data: " + orjson.dumps({"id": name, "choices": [], "usage": counts}) + b"\n\n"


def find(known: Endings, data: bytes, name: str = "a1") -> Ending | None:
    return known.find(data, OPENING, name.encode())


COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}


def test_an_end_is_known_from_its_second_time_on_and_with_any_id() -> None:
    known = Endings()
    assert find(known, end(usage(COUNTS), DONE)) is None
    assert find(known, end(usage(COUNTS), DONE)) == (7, 3, 2)
    assert find(known, end(usage(COUNTS, "b2"), DONE), "b2") == (7, 3, 2)
    assert find(known, end(usage(COUNTS, "00"), DONE), "00") == (7, 3, 2)


def test_an_end_that_tells_nothing_but_its_end_is_known_at_once() -> None:
    exchange = Exchange(0, "window", 0)
    counts = exchange.prompt_tokens, exchange.cached_tokens, exchange.output_tokens = 7, 3, 5
    bare = find(Endings(), end(DONE))
    assert bare == Ending(None, None, None)
    bare.tell(exchange)
    assert (exchange.finished, exchange.done) == (True, True)
    assert (exchange.prompt_tokens, exchange.cached_tokens, exchange.output_tokens) == counts


def test_an_end_of_another_answer_is_another_end() -> None:
    known = Endings()
    for name in ("a1", "b2", "c3"):
        assert find(known, end(usage(COUNTS, "zz"), DONE), name) == (
            None if name == "a1" else (7, 3, 2)
        )
    # The line of the chunk was found true for an id of another length.
    data = end(usage(COUNTS, "zz"), DONE)
    known = Endings()
    assert [find(known, data, "zz") for _ in range(2)] == [None, (7, 3, 2)]
    assert find(known, data.replace(b"zz", b"zzz"), "zzz") is None
    assert find(known, data.replace(b"zz", b"zzz"), "zzz") is None


def test_an_end_with_another_line_before_its_chunk_is_another_end() -> None:
    known, data = Endings(), end(usage(COUNTS), DONE)
    assert [find(known, data) for _ in range(2)] == [None, (7, 3, 2)]
    for line in (b"ff", b"00", b"1 "):
        assert [find(known, line + data[2:]) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    "data",
    [
        end(usage(COUNTS)),
        end(usage(COUNTS), DONE) + b"more",
        end(usage(COUNTS), DONE)[: -len(LAST)],
        end(usage(COUNTS), DONE, usage(COUNTS)),
        end(DONE, DONE),
        end(usage(COUNTS)[:-1], DONE),
        end(usage(COUNTS) + DONE),
        end(b'data: {"id":"a1","error":"no"}\n\n', DONE),
        end(b'data: {"id":"a1","choices":[{"text":"x"}]}\n\n', DONE),
        end(b'data: {"id":"a1","choices"\n\n', DONE),
        end(b"event: error\n" + usage(COUNTS), DONE),
        end(usage(COUNTS), DONE).replace(LAST, b"\r\n" + LAST),
        b"1;x=1" + end(usage(COUNTS), DONE),
        LAST,
    ],
)
def test_an_end_that_is_more_or_less_than_an_end_is_always_read(data: bytes) -> None:
    known = Endings()
    assert [find(known, data) for _ in range(4)] == [None] * 4


def test_an_end_in_which_the_id_has_a_part_is_always_read() -> None:
    known = Endings()
    data = end(usage(COUNTS).replace(b'"id":"a1"', b'"object":"error"'), DONE)
    for _ in range(3):
        assert known.find(data, b'data: {"object":"', b"error") is None
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":'
    data = end(counts + b"7}}\n\n", DONE)
    for _ in range(3):
        assert known.find(data, counts, b"7") is None


def test_ends_that_come_once_are_not_kept_and_of_others_not_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Endings()
    for number in range(3 * MOST):
        assert find(known, end(usage({"completion_tokens": number}), DONE)) is None
    reads: list[Event] = []
    take = Exchange.take

    def counted(exchange: Exchange, event: Event, now: int) -> None:
        reads.append(event)
        take(exchange, event, now)

    monkeypatch.setattr(Exchange, "take", counted)
    for number in range(MOST + 1):
        data = end(usage({"completion_tokens": number}), DONE)
        assert [find(known, data) for _ in range(3)] == [None, *[(None, None, number)] * 2]
    assert len(reads) == 4 * (MOST + 1)
    # The last one is known still; the first is not.
    assert find(known, end(usage({"completion_tokens": MOST}), DONE)) == (None, None, MOST)
    assert find(known, end(usage({"completion_tokens": 0}), DONE)) is None


NUMBERS = st.integers(-2, 2**33) | st.none() | st.text(max_size=2) | st.booleans()
EVENTS = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details", "x"]),
    NUMBERS | st.dictionaries(st.just("cached_tokens"), NUMBERS),
)


@given(
    counts=st.lists(EVENTS, max_size=3), names=st.lists(st.sampled_from(["q1", "00", "11", "id"]))
)
def test_an_end_that_is_known_tells_what_it_tells_when_read(
    counts: list[dict[str, Any]], names: list[str]
) -> None:
    known = Endings()
    for name in names:
        events = [usage(each, name) for each in counts]
        found = find(known, end(*events, DONE), name)
        if found is None:
            continue
        read, told = Exchange(0, "window", 0), Exchange(0, "window", 0)
        for event in (*events, DONE):
            read.take(Event(b"", event[6:-2]), 0)
        found.tell(told)
        for field in Exchange.__slots__:
            assert getattr(told, field) == getattr(read, field)
