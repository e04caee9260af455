"""What is said to be like an event means what it would mean if it were parsed."""

from __future__ import annotations

from array import array
from typing import Any

import orjson
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.likeness import likeness, plain, template
from llmatrix.harness.native.reads import LONGEST, Lines
from llmatrix.harness.native.sse import Event

KEYS = st.sampled_from(
    ["choices", "text", "content", "delta", "error", "usage", "object", "finish_reason", "a"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 3), st.floats(0, 1), st.sampled_from("ab"), KEYS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3)
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 3),
        "text": st.sampled_from(["a", "", "text", "index", "é"]),
        "delta": st.dictionaries(KEYS, LEAVES, max_size=3),
        "finish_reason": st.sampled_from([None, "", "stop"]),
        "logprobs": VALUES,
    },
)
AROUND = st.dictionaries(st.sampled_from(["id", "text", "a"]), VALUES, max_size=2)
DOCUMENTS = st.builds(
    lambda first, choice, choices, last: {**first, "choices": [choice, *choices], **last},
    AROUND,
    st.one_of(CHOICES, st.fixed_dictionaries({"text": st.sampled_from(["a", "id"]), "b": LEAVES})),
    st.lists(CHOICES, max_size=1),
    st.one_of(AROUND, st.dictionaries(KEYS.filter(lambda key: key != "choices"), VALUES)),
)
TEXTS = st.text(min_size=1, max_size=5).filter(
    lambda text: plain(text.encode("utf-8", "surrogatepass"))
)


def read(data: bytes) -> dict[str, Any]:
    exchange = Exchange(0, "window", 0)
    exchange.words = []
    exchange.take(Event(b"", data), 7)
    return {name: getattr(exchange, name) for name in Exchange.__slots__}


@example({"choices": [{"text": "a"}]}, "b")
@given(document=DOCUMENTS, text=TEXTS)
def test_an_event_that_is_like_another_is_a_part_and_nothing_else(
    document: dict[str, Any], text: str
) -> None:
    found = likeness(orjson.dumps(document))
    if found is None:
        event("it has none")
        return
    untouched = {name: getattr(Exchange(0, "window", 0), name) for name in Exchange.__slots__}
    meant = read(b"%b%b%b" % (found.before, text.encode(), found.after))
    assert meant == {**untouched, "stamps": array("q", [7]), "words": [text]}


NAMES = st.text(max_size=3) | st.sampled_from(["id", "a", "text", '"', '","x":"', "\\u0061"])


@example({"id": "a", "choices": [{"text": "b"}]}, "x", "y")
@example({"id": "a", "choices": [{"text": "b"}]}, "\\u0061", "y")
@example({"id": "a", "model": "a", "choices": [{"text": "a"}]}, "x", "y")
@example({"model": "a", "id": "a", "choices": [{"text": "b"}]}, "x", "y")
@given(document=DOCUMENTS, name=NAMES, text=TEXTS | NAMES)
def test_an_answer_that_is_like_another_but_for_its_id_has_the_same_likeness(
    document: dict[str, Any], name: str, text: str
) -> None:
    found = likeness(orjson.dumps(document))
    made = None if found is None else template(found)
    if made is None:
        event("it has none")
        return
    between = (name.encode("utf-8", "surrogatepass"), made.between, text.encode("utf-8", "replace"))
    data = b"".join((made.before, *between, made.after))
    again = made.find(data)
    if again is None:
        assert not (text and plain(between[0]) and plain(between[2]))
        return
    assert again == (made.before + between[0] + made.between, between[0], between[2])
    assert made.find(b"x" + made.between + between[2] + made.after) is None
    untouched = {name: getattr(Exchange(0, "window", 0), name) for name in Exchange.__slots__}
    meant = {**untouched, "stamps": array("q", [7]), "words": [text]}
    assert read(data) == meant
    assert orjson.loads(data)["id"] == name


def test_the_id_is_told_from_what_looks_like_it() -> None:
    for data in (
        b'{"model":"a","id":"a","choices":[{"text":"b"}]}',
        b'{"id":"\\u0061","choices":[{"text":"b"}]}',
        b'{"id":1,"choices":[{"text":"b"}]}',
        b'{"choices":[{"text":"b"}]}',
        b'{"choices":[{"text":"b"}],"id":"x"}',
    ):
        found = likeness(data)
        assert found is not None
        assert template(found) is None


@given(st.binary(max_size=6))
def test_plain_bytes_are_themselves_in_json(text: bytes) -> None:
    if plain(text):
        assert orjson.loads(b'"%b"' % text) == text.decode()
    assert plain(text) or not (text.isalnum() and text.isascii())


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b"{",
        b"[]",
        b'{"choices":[]}',
        b'{"choices":[{"text":""}]}',
        b'{"choices":[{"text":"a\\n"}]}',
        b'{"choices":[{"text":"a","finish_reason":"stop"}]}',
        b'{"choices":[{"text":"a"}],"error":{"message":"no"}}',
        b'{"choices":[{"text":"a"}],"object":"error"}',
        b'{"choices":[{"text":"a"}],"usage":{"completion_tokens":1}}',
        b'{"choices":[{"delta":{"reasoning":"a"}}]}',
        b'{"choices":[{"text":"text"}]}',
        b'{"choices":[{"text":"a"}]}\n ',
        b'{"choices":[{"text":"a"}]}\r',
        b'{"choices":[{"text":"a","text":"a"}]}',
        b'{"choices":[{"text":"b"}],"choices":[{"text":"b"}]}',
    ],
)
def test_what_is_more_than_text_has_no_likeness(data: bytes) -> None:
    assert likeness(data) is None


def test_the_text_is_found_where_it_counts() -> None:
    found = likeness(b'{"id": "x", "choices": [{"delta": {"content": "hi", "text": null}}]}')
    assert found is not None
    assert found.before == b'{"id": "x", "choices": [{"delta": {"content": "'
    assert found.after == b'", "text": null}}]}'


def test_how_a_read_begins_is_known_from_its_length() -> None:
    sizes: set[int] = set()
    for style in ("x", "X"):
        found = Lines(style)
        for length in range(1, 0x1000):
            line = f"{length:{style}}\r\n".encode()
            size = len(line) + length + 2
            assert found[size] == line
            sizes.add(size)
        assert found.keys() == sizes
        for size in (*set(range(LONGEST + 9)) - sizes, 100_000):
            assert len(found[size]) > size
        assert found.keys() == sizes
