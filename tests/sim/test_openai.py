from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim import openai
from llmatrix.sim.openai import BadRequest
from llmatrix.sim.tokens import WORDS


def parse(document: object, *, chat: bool = False, longest: int = 1000) -> openai.Ask:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return openai.parse(body, chat=chat, model="m", longest=longest)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("a b c", 3), ([1, 2, 3, 4], 4), (["a b"], 2), ([[5, 6, 7]], 3), ([9], 1)],
)
def test_a_prompt_is_text_or_ids_or_a_list_with_one_of_them(prompt: Any, tokens: int) -> None:
    assert len(parse({"model": "m", "prompt": prompt}).prompt) == tokens


def test_lengths_and_reasons() -> None:
    def length(chat: bool, **fields: Any) -> tuple[int, str]:  # noqa: FBT001 - a test's helper
        more = {"messages": [{"role": "user", "content": "x"}]} if chat else {"prompt": "x"}
        ask = parse({"model": "m", **more, **fields}, chat=chat)
        return ask.max_tokens, ask.finish

    assert length(False) == (16, "length")
    assert length(False, max_tokens=5, ignore_eos=True, min_tokens=5) == (5, "length")
    assert length(False, min_tokens=40) == (40, "length")
    assert length(True) == (256, "stop")
    assert length(True, max_completion_tokens=7) == (7, "length")


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON object"),
        ({"model": "other", "prompt": "x"}, 404, "does not exist"),
        ({"model": "m"}, 400, "`prompt` must be"),
        ({"model": "m", "prompt": ""}, 400, "empty"),
        ({"model": "m", "prompt": []}, 400, "empty"),
        ({"model": "m", "prompt": ["a", "b"]}, 400, "more than one prompt"),
        ({"model": "m", "prompt": [1, "b"]}, 400, "no token id"),
        ({"model": "m", "prompt": [1.5]}, 400, "no token id"),
        ({"model": "m", "prompt": [-1]}, 400, "negative"),
        ({"model": "m", "prompt": [2**70]}, 400, "no token id"),
        ({"model": "m", "prompt": "x", "max_tokens": 0}, 400, "at least 1"),
        ({"model": "m", "prompt": "x", "max_tokens": True}, 400, "integer"),
        ({"model": "m", "prompt": "x", "max_tokens": 1000}, 400, "maximum context length"),
        ({"model": "m", "prompt": "x", "max_tokens": 3, "min_tokens": 4}, 400, "between 0"),
        ({"model": "m", "prompt": "x", "n": 2}, 400, "`n` other than 1"),
        ({"model": "m", "prompt": "x", "logprobs": 5}, 400, "not simulated"),
        ({"model": "m", "prompt": "x", "stream": "yes"}, 400, "true or false"),
        ({"model": "m", "prompt": "x", "stream_options": 3}, 400, "object"),
    ],
)
def test_a_completion_that_cannot_be_answered_is_refused(
    document: object, status: int, words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        parse(document)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (None, "at least one message"),
        ([], "at least one message"),
        (["x"], "`role`"),
        ([{"role": "user", "content": 5}], "text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "text parts"),
    ],
)
def test_a_chat_that_cannot_be_answered_is_refused(messages: object, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse({"model": "m", "messages": messages}, chat=True)


def refusal(body: bytes, *, chat: bool) -> tuple[int, str] | None:
    try:
        openai.parse(body, chat=chat, model="m", longest=100)
    except BadRequest as error:
        return error.status, str(error)
    return None


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_refused(body: bytes, chat: bool) -> None:  # noqa: FBT001 - drawn
    refused = refusal(body, chat=chat)
    assert refused is not None
    assert refused[0] == 400


TEXT = st.text("ab 1", max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("prompt", "messages", "max_tokens", "min_tokens", "stream", "stream_options", "n")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), st.booleans())
def test_any_fields_are_answered_or_refused_with_a_sentence(
    document: dict[str, Any],
    chat: bool,  # noqa: FBT001 - drawn
) -> None:
    refused = refusal(json.dumps(document).encode(), chat=chat)
    assert refused is None or (refused[0] == 400 and len(refused[1]) > 10)


def test_the_same_prompt_has_the_same_answer() -> None:
    first, second, other = (
        parse({"model": "m", "prompt": prompt}).first_word for prompt in ("a b", "a b", "a c")
    )

    assert first == second != other


def test_an_event_is_cut_at_its_word_even_when_the_models_name_holds_it() -> None:
    name = f"ali{WORDS[0]}/x-7B"
    body = json.dumps({"model": name, "prompt": "x", "stream": True}).encode()
    ask = openai.parse(body, chat=False, model=name, longest=100, framed=False)
    answer = openai.Answer(ask)
    event = json.loads((answer.head + b"word" + answer.tail).removeprefix(b"data: "))

    assert (event["model"], event["choices"][0]["text"]) == (name, " word")
