"""Rows of datasets and traces: every form is read, every bad row is told at its line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.recorded import RowError, read_dataset, read_trace

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a b"}


def test_prompts_in_json_lines() -> None:
    data = b'\xef\xbb\xbf{"prompt": "one"}\n\n{"prompt": "two \xc3\xbc", "output_len": 7}\r\n'
    rows = read_dataset(data)
    assert [(row.line, row.text, row.output_len) for row in rows] == [
        (1, "one", None),
        (3, "two ü", 7),
    ]


def test_messages_are_cut_before_the_answer_that_was_recorded() -> None:
    talk = [{"role": "system", "content": "s"}, USER, ANSWER, USER, ANSWER]
    (row,) = read_dataset(json.dumps({"messages": talk}).encode())
    assert [message["role"] for message in row.messages] == ["system", "user", "assistant", "user"]
    assert row.answer == "a b"
    (open_end,) = read_dataset(json.dumps({"messages": [USER]}).encode())
    assert open_end.answer is None


def test_sharegpt_takes_the_first_question_that_has_an_answer() -> None:
    def entry(*said: tuple[str, str]) -> dict[str, object]:
        return {"id": "x", "conversations": [{"from": who, "value": what} for who, what in said]}

    document = [
        entry(("human", "q1"), ("gpt", "a1"), ("human", "q2"), ("gpt", "a2")),
        entry(("gpt", "hello"), ("human", "q3")),
        entry(("system", "s"), ("gpt", "hi"), ("user", "q4"), ("assistant", "a4")),
        entry(),
    ]
    rows = read_dataset(json.dumps(document, indent=1).encode())
    assert [(row.text, row.answer) for row in rows] == [("q1", "a1"), ("q4", "a4")]
    lines = read_dataset("\n".join(json.dumps(each) for each in document).encode())
    assert [(row.text, row.answer) for row in lines] == [("q1", "a1"), ("q4", "a4")]


def test_the_lines_of_a_list_are_those_of_its_entries() -> None:
    data = b'[\n {"prompt": "a"},\n\n {"prompt":\n "b"}, {"prompt": "c"}\n]\n'
    assert [row.line for row in read_dataset(data)] == [2, 4, 5]


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        ('{"prompt": "a"}\n{oops', 2, "is not JSON"),
        ('{"prompt": "a"}\n[1]', 2, "is not a JSON object"),
        ('{"prompt": "a"}\n{"text": "b"}', 2, "has neither `prompt` nor `messages` nor"),
        ('{"prompt": ""}', 1, "`prompt` must be text that is not empty"),
        ('\n{"prompt": 7}', 2, "`prompt` must be text that is not empty, not 7"),
        ('{"prompt": "a", "output_len": 0}', 1, "`output_len` must be a whole number from 1 to"),
        ('{"prompt": "a", "output_len": true}', 1, "`output_len` must be a whole number"),
        ('{"messages": []}', 1, "`messages` must be a list that is not empty"),
        ('{"messages": [{"role": "boss", "content": "x"}]}', 1, "needs a `role`: one of system"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', 1, "needs `content`, as text"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', 1, "holds an answer only"),
        ('{"conversations": {}}', 1, "`conversations` must be a list"),
        ('{"conversations": [{"from": "human"}]}', 1, "needs `from` and `value`, as text"),
        ('[\n{"prompt": "a"}\n{"prompt": "b"}]', 3, "a comma or ] is missing"),
        ('[\n{"prompt": "a"},\n{oops}]', 3, "is not JSON"),
        ('[\n{"prompt": "a"},\n7]', 3, "is not a JSON object"),
        ("[", 1, "is not JSON"),
        ("[" * 100_000, 1, "is"),
        ("", 1, "holds no prompt"),
        ('[{"conversations": []}]', 1, "holds no prompt"),
    ],
)
def test_a_bad_row_is_told_at_its_line(data: str, line: int, why: str) -> None:
    with pytest.raises(RowError, match=why.replace("[", r"\[")) as caught:
        read_dataset(data.encode())
    assert caught.value.line == line


def test_traces_of_several_makers() -> None:
    ours = b'{"timestamp": 0.5, "input_length": 9, "output_length": 3}\n'
    mooncake = (
        b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
        b'{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46, 2353]}\n'
    )
    azure = (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        b"2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n"
    )
    burst = (
        b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        b"5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n"
        b"118,GPT-4,417,276,693,Conversation log\n"
    )
    (row,) = read_trace(ours)
    assert (row.at, row.input_length, row.output_length, row.blocks) == (0.5, 9, 3, ())
    assert [row.blocks for row in read_trace(mooncake)] == [(46, 47), (46, 2353)]
    first, second = read_trace(azure)
    assert second.at - first.at == pytest.approx(4.314579)
    assert (second.input_length, second.output_length) == (396, 109)
    assert [row.at for row in read_trace(burst)] == [5.0, 118.0], "the failed one is passed over"


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        ('{"timestamp": 1, "input_length": 9}', 1, "has no `output_length`"),
        ("timestamp,input_length\n1,2\n", 2, "has no `output_length`"),
        (
            "timestamp,input_length,output_length\n1,2,3\nnow,2,3\n",
            3,
            "neither a number nor a date",
        ),
        ("timestamp,input_length,output_length\nNaN,2,3\n", 2, "neither a number nor a date"),
        ("timestamp,input_length,output_length\n1,2,3\n2,x,3\n", 3, "`input_length` must be a who"),
        ("timestamp,input_length,output_length\n2,2,3\n1,2,3\n", 3, "earlier than the row before"),
        ('{"timestamp": 1, "input_length": 0, "output_length": 2}', 1, "from 1 to"),
        ('{"timestamp": 1, "input_length": 1, "output_length": -2}', 1, "from 0 to"),
        (
            '{"timestamp": 1, "input_length": 1, "output_length": 2, "hash_ids": ["a"]}',
            1,
            "list of whole numbers",
        ),
        ("timestamp,input_length,output_length\n", 1, "holds no arrival"),
        ("", 1, "holds no arrival"),
    ],
)
def test_a_bad_arrival_is_told_at_its_line(data: str, line: int, why: str) -> None:
    with pytest.raises(RowError, match=why) as caught:
        read_trace(data.encode())
    assert caught.value.line == line


READERS: tuple[Callable[[bytes], Sequence[object]], ...] = (read_dataset, read_trace)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["prompt", "messages", "role", "content", "conversations", "from", "value",
             "output_len", "timestamp", "input_length", "output_length", "hash_ids"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@given(entries=st.lists(VALUES, max_size=4), as_list=st.booleans(), junk=st.binary(max_size=20))
def test_any_document_is_read_or_refused_at_a_line(
    entries: list[object], junk: bytes, *, as_list: bool
) -> None:
    whole = json.dumps(entries) if as_list else "\n".join(json.dumps(each) for each in entries)
    for data in (whole.encode(), whole.encode() + junk, junk):
        for read in READERS:
            refused: RowError | None = None
            rows: Sequence[object] = ()
            try:
                rows = read(data)
            except RowError as error:
                refused = error
            assert (refused is None) == bool(rows)
            if refused is not None:
                assert 1 <= refused.line <= data.count(b"\n") + data.count(b"\r") + 1
                assert "\n" not in str(refused)
