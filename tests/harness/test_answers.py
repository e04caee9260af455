"""One run over a server that misbehaves in every way: each request's row tells what happened."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from llmatrix.harness.native.forms import Form
from llmatrix.harness.native.prompts import Prompts, token_ids
from llmatrix.harness.registry import harness

pytestmark = pytest.mark.slow

Row = dict[str, Any]


def _good(c: ModuleType) -> list[Any]:
    return [c.chunk(c.token()), c.chunk(c.token() + c.usage(20, 2) + c.END), b"0\r\n\r\n"]


def crlf(event: bytes) -> bytes:
    return event.replace(b"\n", b"\r\n")


def behaviours(c: ModuleType) -> dict[str, list[Any]]:
    """What the server does with each request, by name."""
    head, chunk, token, event, usage = c.head, c.chunk, c.token, c.event, c.usage
    good = _good(c)
    whole = head() + b"".join(good)
    delta = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    failed = event({"error": {"message": "out of memory", "code": 500}})
    text = b"unavailable\nsecond line"
    return {
        "good": [head(), *good],
        "one read": [whole],
        "split": [step for at in range(0, len(whole), 40) for step in (whole[at : at + 40], 0.001)],
        "crlf": [
            head(), chunk(b": hi\r\n\r\n"), chunk(crlf(token())), chunk(crlf(c.END)), b"0\r\n\r\n"
        ],
        "role first": [head(), chunk(delta), 0.2, *good],
        "empty first": [head(), chunk(token("")), 0.2, *good],
        "continue first": [b"HTTP/1.1 100 Continue\r\n\r\n", head(), *good],
        "replica": [head("X-Inference-Pod: pod-7"), *good],
        "cached": [head(), chunk(token()), chunk(usage(20, 5, 16) + c.END), b"0\r\n\r\n"],
        "wrong usage": [head(), chunk(token() + usage(-3, -5) + c.END), b"0\r\n\r\n"],
        "no usage": [head(), chunk(token()), chunk(token() + c.END), b"0\r\n\r\n"],
        "until close": [head("Connection: close"), token(), usage(20, 1), c.END, c.CLOSE],
        "done, then close": [head(), chunk(token()), chunk(c.END), c.CLOSE],
        "large event": [head(), chunk(token("x" * (1 << 20))), *good],
        "slow head": [0.2, head()[:30], 0.2, head()[30:], *good],
        "error event": [head(), chunk(token()), chunk(failed), c.CLOSE],
        "error event, held open": [head(), chunk(failed)],
        "no json": [head(), chunk(b"data: {oops\n\n"), b"0\r\n\r\n"],
        "no object": [head(), chunk(event([1])), b"0\r\n\r\n"],
        "usage first": [
            head(), chunk(usage(20, 2)), chunk(token() + token() + c.END), b"0\r\n\r\n"
        ],
        "finish first": [
            head(), chunk(event({"choices": [{"text": "", "finish_reason": "length"}]})), *good
        ],
        "after the end": [head(), chunk(token() + c.END + token()), b"0\r\n\r\n"],
        "negative chunk": [head(), chunk(token()), b"-5\r\nhello\r\n0\r\n\r\n"],
        "chunk too long": [head(), chunk(token()), b"3\r\nhello\r\n0\r\n\r\n"],
        "two lengths": [head("Content-Length: 5", "Content-Length: 7"), b"hello"],
        "no text": [head(), chunk(event({"choices": [{"delta": {"content": 7}}]})), *good],
        "reset": [head(), chunk(token()), 0.05, c.RESET],
        "half-close": [head(), chunk(token()), c.HALF_CLOSE],
        "unfinished": [head(), chunk(token()), b"0\r\n\r\n"],
        "429": [head("Content-Length: 22", "Retry-After: 7", status="429 Too Many Requests"), text],
        "500": [head(status="500 Oops"), chunk(text), b"0\r\n\r\n"],
        "redirect": [head("Location: http://else/", "Content-Length: 0", status="302 Found")],
        "json": [head("Content-Length: 2", kind="application/json"), b"{}"],
        "encoded": [head("Content-Encoding: gzip"), chunk(gzip.compress(token())), b"0\r\n\r\n"],
        "no http": [b"banana\r\n\r\n"],
        "closed": [c.CLOSE],
        "reset at once": [c.RESET],
        "cut head": [head()[:30], c.CLOSE],
        "stalled": [head(), chunk(token())],
        "silent": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, tools: ModuleType) -> dict[str, Row]:
    """Run once; rows by the name of what the server did."""
    folder = tmp_path_factory.mktemp("answers")
    does = behaviours(tools)
    names = list(does)

    shape = Form(b"[", b"]", b",", b",")
    prompts = Prompts(token_ids(32000), shape, seed=1, question_len=20, output_len=5)
    numbers = {tuple(json.loads(b"[%b]" % prompts.question(n))): n for n in range(len(names))}

    def script(seen: Any, _: int) -> Sequence[Any]:
        number = numbers.get(tuple(seen.asked["prompt"]))
        return [tools.CLOSE] if number is None else does[names[number]]

    server = tools.TruthServer(script)
    asked = tools.job(folder, server.url, duration=len(names) / 20, timeout=1.5)
    measured = harness("native").run(asked, progress=lambda _: None, stop=threading.Event())
    found, _ = tools.left(folder)
    server.close()
    assert measured.window_s == (0.0, len(names) / 20)
    assert numbers.keys() <= {tuple(seen.asked["prompt"]) for seen in server.seen}
    return {name: found[number] for number, name in enumerate(names)}


@pytest.mark.parametrize(
    "name",
    [
        "good", "one read", "split", "crlf", "role first", "empty first", "continue first",
        "replica", "cached", "wrong usage", "no usage", "until close", "done, then close",
        "large event", "slow head", "usage first", "finish first", "no text",
    ],
)  # fmt: skip
def test_an_answer_in_any_shape_is_an_answer(rows: dict[str, Row], name: str) -> None:
    row = rows[name]
    assert (row["error"], row["error_detail"], row["status"]) == (None, None, 200)
    assert row["scheduled_s"] <= row["sent_s"] <= row["first_token_s"] <= row["last_token_s"]
    assert row["last_token_s"] <= row["end_s"]
    assert row["ttft_ms"] == pytest.approx(1e3 * (row["first_token_s"] - row["scheduled_s"]))
    assert row["e2e_ms"] == pytest.approx(1e3 * (row["last_token_s"] - row["scheduled_s"]))
    assert len(row["itl_ms"]) == row["chunks"] - 1


@pytest.mark.parametrize(
    ("name", "error", "detail"),
    [
        ("error event", "stream", "out of memory"),
        ("error event, held open", "stream", "out of memory"),
        ("no json", "stream", "an event is not JSON: {oops"),
        ("no object", "stream", "not a JSON object"),
        ("after the end", "stream", "content came after [DONE]: w1"),
        ("negative chunk", "protocol", "malformed HTTP"),
        ("chunk too long", "protocol", "malformed HTTP"),
        ("two lengths", "protocol", "malformed HTTP"),
        ("reset", "stream", "the connection broke"),
        ("half-close", "stream", "closed the connection before the answer was complete"),
        ("unfinished", "stream", "the stream ended before the answer was complete"),
        ("429", "http", "HTTP 429 (retry after 7): unavailable"),
        ("500", "http", "HTTP 500: unavailable"),
        ("redirect", "http", "HTTP 302 to http://else/"),
        ("json", "protocol", "no stream of events: {}"),
        ("encoded", "protocol", "encoded (gzip)"),
        ("no http", "protocol", "malformed HTTP"),
        ("closed", "connect", "before any answer"),
        ("reset at once", "connect", "before any answer"),
        ("cut head", "protocol", "within the headers"),
        ("stalled", "timeout", "the stream stalled"),
        ("silent", "timeout", "no token came"),
    ],
)
def test_every_failure_has_its_class(
    rows: dict[str, Row], name: str, error: str, detail: str
) -> None:
    row = rows[name]
    assert row["error"] == error
    assert detail in row["error_detail"]
    assert "\n" not in row["error_detail"]
    assert row["end_s"] is not None


@pytest.mark.parametrize("name", ["role first", "empty first"])
def test_the_first_token_is_the_first_content(rows: dict[str, Row], name: str) -> None:
    assert rows[name]["ttft_ms"] >= 200
    assert rows[name]["chunks"] == 2


def test_usage_is_what_the_server_counts(rows: dict[str, Row]) -> None:
    cached = rows["cached"]
    assert (cached["prompt_tokens"], cached["cached_tokens"], cached["output_tokens"]) == (
        20,
        16,
        5,
    )
    for name, events in (("no usage", 2), ("wrong usage", 1)):
        assert rows[name]["prompt_tokens"] is None
        assert rows[name]["output_tokens"] == events
    assert rows["good"]["cached_tokens"] is None


def test_a_header_tells_the_replica(rows: dict[str, Row]) -> None:
    assert rows["replica"]["server"] == "pod-7"
    assert rows["good"]["server"] is None


def test_a_stall_ends_at_the_time_allowed(rows: dict[str, Row]) -> None:
    for name in ("stalled", "silent"):
        taken = rows[name]["end_s"] - rows[name]["scheduled_s"]
        assert 1.49 <= taken < 5


def test_rows_are_numbered_by_their_schedule(rows: dict[str, Row]) -> None:
    numbers = [row["request"] for row in rows.values()]
    assert numbers == list(range(len(rows)))
    due = [row["scheduled_s"] for row in rows.values()]
    assert due == pytest.approx([number / 20 for number in numbers])
