from __future__ import annotations

import http.client
import json
import math
import socket
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmatrix.sim.faults import BadFault, Disturbance, Fault, parse


def test_faults_are_read_with_their_defaults() -> None:
    assert parse("slow factor=3", 2) == Fault("slow", 0, 0.0, math.inf, 3.0)
    assert parse("stall replica=1 at=10 for=2.5", 2) == Fault("stall", 1, 10.0, 2.5)
    assert parse("crash at=1", 1) == Fault("crash", 0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one of slow, stall, crash"),
        ("hang", "one of slow, stall, crash"),
        ("stall replica=2", "from 0 to 1"),
        ("stall replica=0.5", "from 0 to 1"),
        ("stall at=soon", "at must be a number"),
        ("stall at=-1", "at must be a number"),
        ("stall for=nan", "for must be a number"),
        ("stall at=1 at=2", "'at' is twice"),
        ("stall factor=2", "'factor' is twice or nothing"),
        ("slow", "needs a factor above 1"),
        ("slow factr=2", "did you mean 'factor'"),
    ],
)
def test_what_is_no_fault_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(BadFault, match=message):
        parse(text, 2)


def test_where_others_have_numbers_too_any_replica_may_be_named() -> None:
    assert parse("stall replica=7", None) == Fault("stall", 7)
    with pytest.raises(BadFault, match=r"replica must be a whole number$"):
        parse("stall replica=0.5", None)


def test_before_the_time_of_faults_has_begun_nothing_goes_wrong() -> None:
    faults = [Fault("slow", 0, factor=9.0), Fault("stall", 0)]
    waiting = Disturbance(faults)
    waiting.epoch = math.inf
    assert waiting.end(5.0, 0.25) == 5.25


def test_an_undisturbed_step_ends_when_it_should() -> None:
    assert Disturbance([Fault("slow", 1, factor=9.0)]).end(5.0, 0.25) == 5.25


def test_steps_that_begin_while_a_replica_is_slow_take_longer() -> None:
    slow = Disturbance([Fault("slow", 0, at=1.0, lasts=2.0, factor=3.0)])
    slow.epoch = 100.0

    assert [slow.end(100.0 + at, 0.5) - 100.0 for at in (0.9, 1.0, 2.9, 3.0)] == pytest.approx(
        [1.4, 2.5, 4.4, 3.5]
    )


def test_a_stall_holds_the_step_that_runs_and_those_that_would_begin() -> None:
    stalled = Disturbance([Fault("stall", 0, at=1.0, lasts=2.0)])

    assert stalled.end(0.5, 0.5) == 1.0, "it ended just in time"
    assert stalled.end(0.9, 0.5) == pytest.approx(3.4)
    assert stalled.end(2.0, 0.5) == pytest.approx(3.5)
    assert stalled.end(3.0, 0.5) == 3.5
    assert Disturbance([Fault("stall", 0, at=1.0)]).end(0.9, 0.5) == math.inf


def test_jitter_has_mean_1_and_follows_its_seed() -> None:
    one, same, other = (Disturbance(jitter=0.2, seed=seed) for seed in (1, 1, 2))
    drawn = [one.end(0.0, 1.0) for _ in range(20_000)]

    assert drawn == [same.end(0.0, 1.0) for _ in range(20_000)]
    assert drawn[:5] != [other.end(0.0, 1.0) for _ in range(5)]
    assert statistics.fmean(drawn) == pytest.approx(1.0, abs=0.01)
    assert statistics.stdev(map(math.log, drawn)) == pytest.approx(0.2, rel=0.05)


@pytest.mark.slow
def test_a_crashed_replica_resets_its_streams_and_comes_back_with_an_empty_cache(
    programs: Any, tools: Any
) -> None:
    server = programs.serve("--replicas", "2", "--fault", "crash replica=1 at=1.5 for=1")
    whole, crashing = server.servers
    body = {"model": tools.model, "prompt": "word " * 64, "max_tokens": 1}
    assert tools.ask(crashing, "/v1/completions", body).status == 200
    assert tools.metric(crashing, "vllm:prefix_cache_queries_total") == 64
    long = {"model": tools.model, "prompt": "x", "max_tokens": 30_000, "stream": True}
    with (
        tools.asking(crashing, "/v1/completions", long) as answer,
        pytest.raises((http.client.HTTPException, OSError)),
    ):
        answer.read()
    assert not reachable(crashing)
    assert tools.ask(whole, "/health").status == 200

    tools.until(lambda: reachable(crashing) and tools.ask(crashing, "/health").status == 200)
    again = tools.ask(crashing, "/v1/completions", body)
    assert json.loads(again.body)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.slow
def test_a_program_takes_the_faults_of_its_own_number_and_waits_to_be_told(
    programs: Any, tools: Any
) -> None:
    """As in a pod, whose name ends with its number."""
    faults = [
        "--faults-when-told", *("--fault", "crash replica=2 at=0.2 for=0.2"),
        *("--fault", "stall replica=0"),
    ]  # fmt: skip
    crashing = programs.serve("--first-replica", "server-2", *faults).url
    stalled = programs.serve("--first-replica", "0", *faults).url
    body = {"model": tools.model, "prompt": "x", "max_tokens": 1}
    time.sleep(0.5)
    assert tools.ask(crashing, "/faults").json == {"crashes": 0}
    assert tools.ask(stalled, "/v1/completions", body).status == 200
    for _ in range(2):
        assert tools.ask(crashing, "/faults", b"").json == {"crashes": 0}
        tools.until(lambda: not reachable(crashing))
        tools.until(lambda: reachable(crashing))
        assert tools.ask(crashing, "/faults").json == {"crashes": 1}
    assert tools.ask(stalled, "/faults", b"").json == {"crashes": 0}
    with pytest.raises(TimeoutError):
        tools.ask(stalled, "/v1/completions", body, timeout_s=1.0)


def reachable(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_stalled_replica_takes_requests_and_answers_when_the_stall_is_over(
    programs: Any, tools: Any
) -> None:
    server = programs.serve("--fault", "stall for=1.5")
    body = {"model": tools.model, "prompt": "x", "max_tokens": 1}
    reply = tools.ask(server.url, "/v1/completions", body)

    assert reply.status == 200
    assert tools.metric(server.url, "vllm:time_to_first_token_seconds_sum") > 0.5
