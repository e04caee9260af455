"""What every harness must do, whatever program sends: run over each name of ``HARNESSES``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmatrix.errors import StepFailure, Stopped, UserError
from llmatrix.harness.registry import HARNESSES, harness

pytestmark = pytest.mark.slow

Start = Callable[..., Any]
Go = Callable[..., Any]

every = pytest.mark.parametrize("name", list(HARNESSES))


@every
def test_it_says_what_it_is(name: str) -> None:
    made = harness(name)
    assert made.name == name
    assert made.version


@every
def test_every_request_of_the_window_has_a_true_row(
    truth: Start, go: Go, tools: ModuleType, name: str
) -> None:
    server = truth(tools.answers(0.05, 0.01))
    before = time.time()
    ran = go(server.url, name, warmup=0.5, duration=1.0, output_len=10)
    start, end = ran.measurement.window_s
    assert end - start == pytest.approx(1.0)
    assert before <= ran.measurement.started_at <= time.time()
    assert len(ran.window) == 20
    for row in ran.window:
        assert start <= row["scheduled_s"] < end
        assert row["error"] is None
        assert row["status"] == 200
        assert row["prompt_tokens"] == row["prompt_tokens_asked"] == 20
        assert row["output_tokens"] == row["output_tokens_asked"] == row["chunks"] == 10
        assert len(row["itl_ms"]) == 9
        # no figure can be below the truth; how far above depends on the machine
        assert row["ttft_ms"] >= row["ttft_from_send_ms"] >= 49
        assert row["e2e_ms"] >= 138
        assert row["tpot_ms"] * 9 == pytest.approx(row["e2e_ms"] - row["ttft_ms"], abs=0.01)


@every
def test_the_server_sees_what_was_asked(truth: Start, go: Go, name: str) -> None:
    server = truth()
    go(server.url, name, question_len=17, output_len=3)
    for seen in server.seen:
        assert seen.path == "/v1/completions"
        assert len(seen.asked["prompt"]) == 17
        assert seen.asked["max_tokens"] == 3
        assert seen.asked["stream"] is True
        assert seen.asked["model"] == "m"


@every
def test_errors_are_rows(truth: Start, go: Go, tools: ModuleType, name: str) -> None:
    refuse = [tools.head("Content-Length: 4", status="500 Oops"), b"oops"]

    def script(seen: Any, number: int) -> Any:
        return refuse if number % 2 else tools.answers()(seen, number)

    ran = go(truth(script).url, name)
    failed = [row for row in ran.window if row["error"] is not None]
    assert 0 < len(failed) < len(ran.window)
    assert {(row["error"], row["status"]) for row in failed} == {("http", 500)}


@every
def test_progress_grows(truth: Start, go: Go, name: str) -> None:
    ran = go(truth().url, name, warmup=0.5, duration=1.5)
    assert ran.progress
    done = [told.done for told in ran.progress]
    assert done == sorted(done)
    assert {told.phase for told in ran.progress} <= {"warmup", "window", "drain"}
    assert all(told.total_s == pytest.approx(2.0) for told in ran.progress)


@every
def test_it_stops_when_told(truth: Start, tools: ModuleType, tmp_path: Path, name: str) -> None:
    stop = threading.Event()
    stop.set()
    asked = tools.job(tmp_path, truth().url, duration=600.0)
    with pytest.raises(Stopped):
        harness(name).run(asked, progress=lambda _: None, stop=stop)


@every
def test_a_missing_key_is_told(go: Go, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(StepFailure, match="NO_SUCH_KEY"):
        go("http://127.0.0.1:9", name, target_api_key_env="NO_SUCH_KEY")


def test_an_unknown_name_has_a_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'native'"):
        harness("nativ")
    with pytest.raises(UserError, match="there are: native"):
        harness("zzz")
