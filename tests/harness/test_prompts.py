from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.harness.native.bodies import Bodies, address
from llmatrix.harness.native.forms import form
from llmatrix.harness.native.orders import Orders
from llmatrix.harness.native.prompts import Prompts, token_ids, words

ORDERS = Orders(
    base_url="http://h:1",
    model="m",
    api_key_env=None,
    metrics_urls=(),
    vocab_size=32000,
    tokenizer="words",
    groups=0,
    prefix_len=0,
    question_len=100,
    output_len=7,
    rate=1.0,
    gap_cv=1.0,
    concurrency=None,
    warmup=1.0,
    duration=2.0,
    drain=3.0,
    timeout=4.0,
    api="completions",
    prompt="token-ids",
    seed=5,
    folder="/nowhere",
)


def bodies(orders: Orders, key: str | None = None) -> Bodies:
    vocabulary = (token_ids if orders.prompt == "token-ids" else words)(orders.vocab_size)
    prompts = Prompts(
        vocabulary,
        form(orders, vocabulary.between),
        seed=orders.seed,
        question_len=orders.question_len,
        output_len=orders.output_len,
        prefix_len=orders.prefix_len,
        groups=orders.groups,
    )
    return Bodies(orders, prompts, key)


def asked(made: Bodies, number: int) -> dict[str, Any]:
    head, _, body = b"".join(made.body(number).parts).partition(b"\r\n\r\n")
    assert int(head.rpartition(b": ")[2]) == len(body)
    found: dict[str, Any] = json.loads(body)
    return found


@given(
    vocab=st.integers(16, 200_000),
    question=st.integers(1, 300),
    prefix=st.integers(1, 300),
    groups=st.integers(0, 5),
    prompt=st.sampled_from(["token-ids", "text"]),
    number=st.integers(0, 10**6),
)
def test_prompts_have_exactly_the_asked_length(
    vocab: int, question: int, prefix: int, groups: int, prompt: Any, number: int
) -> None:
    orders = replace(
        ORDERS,
        vocab_size=vocab,
        question_len=question,
        prefix_len=prefix if groups else 0,
        groups=groups,
        prompt=prompt,
    )
    tokens = asked(bodies(orders), number)["prompt"]
    tokens = tokens.split(" ") if prompt == "text" else tokens
    assert len(tokens) == orders.prefix_len + orders.question_len
    if prompt == "token-ids":
        assert all(vocab // 32 <= token < vocab for token in tokens)


def test_the_request_asks_for_exactly_the_asked_answer() -> None:
    document = asked(bodies(ORDERS), 0)
    del document["prompt"]
    assert document == {
        "model": "m",
        "max_tokens": 7,
        "min_tokens": 7,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_no_two_prompts_or_seeds_share_a_beginning() -> None:
    made = [bodies(replace(ORDERS, seed=seed)) for seed in range(3)]
    firsts = [tuple(asked(m, number)["prompt"][:16]) for m in made for number in range(200)]
    assert len(set(firsts)) == len(firsts)


def test_groups_share_exactly_their_prefix_and_are_balanced() -> None:
    orders = replace(ORDERS, groups=4, prefix_len=50)
    made = bodies(orders)
    prompts = [(made.body(n).prompt.group, asked(made, n)["prompt"]) for n in range(40)]
    assert Counter(group for group, _ in prompts) == {0: 10, 1: 10, 2: 10, 3: 10}
    for group in range(4):
        mine = [prompt for g, prompt in prompts if g == group]
        assert len({tuple(prompt[:50]) for prompt in mine}) == 1
        assert len({tuple(prompt[50:66]) for prompt in mine}) == len(mine)
    assert len({tuple(prompt[:50]) for _, prompt in prompts}) == 4
    other = bodies(replace(orders, seed=6))
    assert not {tuple(asked(other, n)["prompt"][:50]) for n in range(4)} & {
        tuple(prompt[:50]) for _, prompt in prompts
    }


def test_the_stock_changes_no_byte() -> None:
    stocked, whole, fresh = bodies(ORDERS), bodies(ORDERS), bodies(ORDERS)
    assert stocked.stock(range(20), 60.0) == whole.stock_whole(range(20), 60.0) == 20
    for number in range(30):
        assert stocked.body(number) == whole.body(number) == fresh.body(number)


def test_the_stock_stops_when_its_time_is_up() -> None:
    assert bodies(ORDERS).stock(range(1000), 0.0) <= 1
    assert bodies(ORDERS).stock_whole(range(1000), 0.0) <= 1


def test_chat_carries_the_words_as_one_message() -> None:
    orders = replace(ORDERS, api="chat", prompt="text", base_url="http://h:1/prefix")
    made = bodies(orders)
    message = asked(made, 3)["messages"][0]
    assert message["role"] == "user"
    assert len(message["content"].split()) == 100
    assert made.body(3).parts[0].startswith(b"POST /prefix/v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ['m"PROMPT"', "PROMPT", 'a\\"b', "ü"])
def test_a_model_may_be_called_anything(name: str) -> None:
    for prompt in ("token-ids", "text"):
        orders = replace(ORDERS, model=name, prompt=prompt)
        assert asked(bodies(orders), 0)["model"] == name


def test_addresses() -> None:
    found = address("https://[::1]:8443/a/b/")
    assert (found.host, found.port, found.tls, found.authority) == ("::1", 8443, True, "[::1]:8443")
    assert found.path == "/a/b"
    assert address("http://h").port == 80
    for wrong in ("ftp://h", "http://", "h:80", "http://h:99999"):
        with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
            address(wrong)


def test_orders_survive_the_pipe() -> None:
    assert Orders.from_line(ORDERS.to_line()) == ORDERS
