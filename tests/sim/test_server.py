from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.slow
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def raw(url: str, data: bytes, *, until: bytes = b"") -> bytes:
    """Send bytes as they are; read to the end of the connection, or to a mark."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        while not until or until not in found:
            piece = connection.recv(65536)
            if not piece:
                break
            found += piece
        return found


def http(body: object, path: str = COMPLETIONS, more: str = "") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def test_a_streamed_completion_has_one_event_for_each_token(server: Any, tools: Any) -> None:
    body = {"model": tools.model, "prompt": "one two three", "max_tokens": 5, "stream": True}
    reply = tools.ask(server.url, COMPLETIONS, {**body, "stream_options": {"include_usage": True}})
    *tokens, usage = reply.events

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [len(event["choices"][0]["text"].split()) for event in tokens] == [1] * 5
    assert len(set(reply.text.split())) == 5
    assert [event["choices"][0]["finish_reason"] for event in tokens] == [None] * 4 + ["length"]
    assert (usage["choices"], usage["usage"]) == (
        [],
        {
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    )
    whole = tools.ask(server.url, COMPLETIONS, {**body, "stream": False}).json
    assert whole["choices"][0]["text"] == reply.text


def test_a_streamed_chat_begins_with_its_role(server: Any, tools: Any) -> None:
    body = {"model": tools.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    first, *others = tools.ask(server.url, CHAT, {**body, "stream": True}).events
    whole = tools.ask(server.url, CHAT, body).json

    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(event["choices"][0]["delta"]["content"] for event in others)
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": text}
    assert len(text.split()) == len(others) == 3


def test_a_repeated_prompt_is_cached_and_a_reset_drops_it(server: Any, tools: Any) -> None:
    body = {"model": tools.model, "prompt": list(range(500, 600)), "max_tokens": 1}

    def cached() -> int:
        usage = tools.ask(server.url, COMPLETIONS, body).json["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert [cached(), cached()] == [0, 96]
    assert tools.ask(server.url, "/reset_prefix_cache", b"").json == {"success": True}
    assert cached() == 0


def test_a_reset_while_a_request_holds_blocks_says_that_it_did_not(server: Any, tools: Any) -> None:
    url = server.servers[1]
    long = {"model": tools.model, "prompt": "a b c", "max_tokens": 20_000, "stream": True}
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(http(long))
        assert b"200 OK" in connection.recv(65536)
        reply = tools.ask(url, "/reset_prefix_cache", b"")
        assert (reply.status, reply.json) == (200, {"success": False})
    tools.until(lambda: tools.ask(url, "/reset_prefix_cache", b"").json["success"])


def test_a_client_that_leaves_is_aborted_and_its_blocks_are_freed(server: Any, tools: Any) -> None:
    url = server.servers[1]
    before = tools.metric(url, "vllm:request_success_total", finished_reason="abort")
    long = {"model": tools.model, "prompt": "x y z", "max_tokens": 20_000, "stream": True}
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(http(long))
        assert b"200 OK" in connection.recv(65536)
        tools.until(lambda: tools.metric(url, "vllm:num_requests_running") == 1)
        assert tools.metric(url, "vllm:kv_cache_usage_perc") > 0

    tools.until(lambda: tools.metric(url, "vllm:num_requests_running") == 0)
    assert tools.metric(url, "vllm:kv_cache_usage_perc") == 0
    assert tools.metric(url, "vllm:request_success_total", finished_reason="abort") == before + 1


def test_metrics_have_vllms_names_and_add_up(programs: Any, tools: Any) -> None:
    url = programs.serve("--kv-cache-tokens", "4096", "--max-model-len", "1000").url
    for _ in range(3):
        body = {"model": tools.model, "prompt": list(range(64)), "max_tokens": 4}
        assert tools.ask(url, COMPLETIONS, body).status == 200

    expected = {
        "vllm:prompt_tokens_total": 192,
        "vllm:generation_tokens_total": 12,
        "vllm:prefix_cache_queries_total": 192,
        "vllm:prefix_cache_hits_total": 96,
        "vllm:num_preemptions_total": 0,
        "vllm:num_requests_running": 0,
        "vllm:num_requests_waiting": 0,
        "vllm:kv_cache_usage_perc": 0,
        "vllm:time_to_first_token_seconds_count": 3,
        "vllm:inter_token_latency_seconds_count": 9,
        "vllm:e2e_request_latency_seconds_count": 3,
    }
    for name, value in expected.items():
        assert tools.metric(url, name, model_name=tools.model) == value
    assert tools.metric(url, "vllm:request_success_total", finished_reason="length") == 3
    info = {"block_size": "16", "num_gpu_blocks": "256"}
    assert tools.metric(url, "vllm:cache_config_info", **info) == 1
    text = tools.ask(url, "/metrics").body.decode()
    assert len(list(text_string_to_metric_families(text))) > 10


def test_it_is_marked_as_simulated(server: Any, tools: Any) -> None:
    models = tools.ask(server.url, "/v1/models")

    assert models.headers["server"].startswith("llmatrix-sim/")
    assert models.json["data"][0]["id"] == tools.model
    assert models.json["data"][0]["owned_by"] == "llmatrix-sim"
    assert tools.ask(server.url, "/version").json["owned_by"] == "llmatrix-sim"
    assert tools.ask(server.url, "/health").status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (COMPLETIONS, {"model": "another", "prompt": "x"}, 404),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 40_000}, 400),
        (COMPLETIONS, b"{", 400),
        (CHAT, {"messages": []}, 400),
        ("/nowhere", {}, 404),
        ("/health", {}, 405),
        (COMPLETIONS, None, 405),
        ("/reset_prefix_cache", None, 405),
    ],
)
def test_what_cannot_be_answered_is_refused_as_openai_does(
    server: Any, tools: Any, path: str, body: object, status: int
) -> None:
    reply = tools.ask(server.url, path, body)

    assert reply.status == status
    assert reply.json["error"]["code"] == status
    assert reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000, b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\n\r\n" * 40 + b"x\r\n\r\n", b"200"),
    ],
)
def test_what_is_no_http_is_refused_and_hangs_nothing(
    server: Any, tools: Any, data: bytes, status: bytes
) -> None:
    answer = raw(server.url, data)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert tools.ask(server.url, "/health").status == 200


def test_pipelined_requests_are_answered_in_their_order(server: Any, tools: Any) -> None:
    bodies = [{"model": tools.model, "prompt": "x", "max_tokens": n} for n in (5, 1, 3)]
    ends = "POST /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    answer = raw(server.url, b"".join(map(http, bodies)) + ends.encode())

    counts = [
        json.loads(part[: part.index(b"}}}") + 3])["usage"]["completion_tokens"]
        for part in answer.split(b"\r\n\r\n")
        if part.startswith(b'{"id"')
    ]
    assert counts == [5, 1, 3]
    assert answer.count(b"HTTP/1.1 404") == 1


def test_a_client_of_http_1_0_gets_a_plain_stream(server: Any, tools: Any) -> None:
    body = json.dumps({"model": tools.model, "prompt": "x", "max_tokens": 2, "stream": True})
    answer = raw(
        server.url,
        f"POST {COMPLETIONS} HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode(),
    )

    head, _, stream = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert [line[:5] for line in stream.split(b"\n\n")] == [b"data:"] * 3 + [b""]


def test_a_body_that_is_announced_is_asked_for(server: Any, tools: Any) -> None:
    body = {"model": tools.model, "prompt": "x", "max_tokens": 1}
    answer = raw(server.url, http(body, more="expect: 100-continue\r\n"), until=b"}}}")

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_a_full_cache_makes_requests_wait_but_all_are_answered(programs: Any, tools: Any) -> None:
    url = programs.serve("--kv-cache-tokens", "640", "--max-num-seqs", "8").url
    replies: list[Any] = []

    def one(number: int) -> None:
        body = {"model": tools.model, "prompt": [number] * 100, "max_tokens": 100}
        replies.append(tools.ask(url, COMPLETIONS, body))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [reply.status for reply in replies] == [200] * 8
    assert {reply.json["usage"]["completion_tokens"] for reply in replies} == {100}
    assert tools.metric(url, "vllm:num_preemptions_total") > 0
    too_long = {"model": tools.model, "prompt": [1] * 600, "max_tokens": 100}
    assert tools.ask(url, COMPLETIONS, too_long).status == 400


def test_the_first_token_and_the_gaps_take_as_long_as_the_model_says(
    programs: Any, tools: Any, times: Any
) -> None:
    from llmatrix.sim.latency import Load  # noqa: PLC0415

    url = programs.serve(model="Qwen/Qwen3-8B").url
    body = {"model": "Qwen/Qwen3-8B", "prompt": list(range(2000)), "max_tokens": 30}
    prefill = times(Load(2000, 2000 * 2001 // 2, 2000, 1))
    decode = sum(times(Load(1, 2000 + n, 2000 + n, 1)) for n in range(1, 30))
    began = time.monotonic()
    assert tools.ask(url, COMPLETIONS, body).status == 200
    measured = time.monotonic() - began

    # By the engine's own clock exactly, by ours no less, and not much more on a busy machine.
    first = tools.metric(url, "vllm:time_to_first_token_seconds_sum")
    assert first == pytest.approx(prefill, abs=1e-6)
    gaps = tools.metric(url, "vllm:inter_token_latency_seconds_sum")
    assert gaps == pytest.approx(decode, abs=1e-6)
    assert prefill + decode <= measured < prefill + decode + 2


def test_replicas_are_not_ready_before_they_have_started(tmp_path: Path, tools: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    announce = tmp_path / "a.json"
    command = ["serve", "--model", tools.model, "--startup-seconds", "1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmatrix.sim", *command, "--announce", str(announce)],
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def status(path: str, body: object = None) -> int | None:
        try:
            return int(tools.ask(url, path, body).status)
        except ConnectionError:
            return None

    try:
        assert tools.until(lambda: status("/health")) == 503
        assert status(COMPLETIONS, {"model": tools.model, "prompt": "x"}) == 503
        assert not announce.exists()
        tools.until(announce.exists)
        assert status("/health") == 200
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_it_stops_at_once_while_answers_are_under_way(programs: Any, tools: Any) -> None:
    program = programs.serve()
    long = {"model": tools.model, "prompt": "x", "max_tokens": 30_000, "stream": True}
    parts = urlsplit(program.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(http(long))
        assert b"200 OK" in connection.recv(65536)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < 5
