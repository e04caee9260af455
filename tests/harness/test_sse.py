from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native.sse import (
    MAX_EVENT_BYTES,
    Event,
    EventParser,
    EventTooLargeError,
    single,
)

PIECES = st.sampled_from(
    [b"data: a", b"data:b", b"data", b": x", b"event: e", b"id: 1", b"\n", b"\r", b"\r\n", b"\n\n"]
)
STREAMS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=40).map(b"".join))


def events(stream: bytes, cuts: list[int]) -> list[Event]:
    parser = EventParser()
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    found: list[Event] = []
    for start, end in pairwise(places):
        found += parser.feed(stream[start:end])
    return found + parser.finish()


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_events_depend_on_the_bytes_only(stream: bytes, cuts: list[int]) -> None:
    assert events(stream, cuts) == events(stream, [])


@given(st.lists(st.one_of(PIECES, st.just(b"data: a\n\n"), st.just(b"data: \n\n")), max_size=20))
def test_reads_that_are_whole_events_are_no_exception(reads: list[bytes]) -> None:
    parser = EventParser()
    found = [event for read in reads for event in parser.feed(read)] + parser.finish()
    assert found == events(b"".join(reads), [])


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_may_end_in_three_ways(end: bytes) -> None:
    stream = b": comment\ndata: one\ndata:two\nevent: error\nretry: 3\n\ndata: {}\n\n"
    assert events(stream.replace(b"\n", end), list(range(80))) == [
        Event(b"error", b"one\ntwo"),
        Event(b"", b"{}"),
    ]


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\ndata: b\n\nda") == [Event(b"", b"a"), Event(b"", b"b")]
    assert parser.feed(b"ta: c\r") == []
    assert parser.feed(b"\r") == [Event(b"", b"c")]
    assert parser.feed(b"\n") == []


def test_what_the_end_cuts_off_is_given() -> None:
    assert events(b"data: [DONE]", []) == [Event(b"", b"[DONE]")]
    assert events(b"data: a\n", []) == [Event(b"", b"a")]
    assert events(b"\xef\xbb\xbfdata: a\n\n", [1, 2]) == [Event(b"", b"a")]


def test_an_event_without_end_is_refused() -> None:
    parser = EventParser()
    part = b"x" * (1 << 20)
    for _ in range(MAX_EVENT_BYTES // len(part)):
        parser.feed(part)
    with pytest.raises(EventTooLargeError):
        parser.feed(part)


def test_an_event_just_below_the_limit_is_given_whole_or_in_parts() -> None:
    stream = b"data: " + b"x" * (MAX_EVENT_BYTES - 100) + b"\n\n"
    whole = EventParser().feed(stream)
    parts = events(stream, list(range(0, len(stream), 1 << 20)))
    assert [len(event.data) for event in whole] == [MAX_EVENT_BYTES - 100]
    assert parts == whole


@pytest.mark.parametrize(
    "data",
    [b"", b"data: a", b"data: a\n", b"data: a\rdata: b\n\n", b"data: a\n\ndata: b\n\n", b"a\n\n"],
)
def test_what_is_not_exactly_one_event_is_not_taken_for_one(data: bytes) -> None:
    assert single(data) is None
    assert single(b"data: a\n\n") == Event(b"", b"a")
