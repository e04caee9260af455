"""The native harness over real sockets: phases, loads, faults of the whole server, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmatrix.analysis.checks import Verdict
from llmatrix.analysis.strain import Strain
from llmatrix.analysis.validity import Asked, Observed, judge
from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.harness.native.child import measure
from llmatrix.harness.native.parent import orders_of
from llmatrix.harness.native.sources import Traffic
from llmatrix.harness.native.spool import in_order
from llmatrix.harness.protocol import Measurement
from llmatrix.harness.registry import harness

pytestmark = pytest.mark.slow

Start = Callable[..., Any]
Go = Callable[..., Any]


class Alone:
    """The reins of a child without a parent: it starts at once and ends when it has answered."""

    def __init__(self) -> None:
        self._answered = asyncio.Event()

    async def start(self) -> tuple[int, float]:
        return time.monotonic_ns(), time.time()

    async def ended(self) -> None:
        await self._answered.wait()

    def answered(self) -> None:
        self._answered.set()

    def tell(self, kind: str, **fields: Any) -> None:
        pass


def test_an_open_loop_sends_the_schedule(truth: Start, go: Go) -> None:
    server = truth()
    ran = go(server.url, load={"rate": 40.0, "arrivals": "constant"}, warmup=0.5, duration=1.0)
    assert Counter(row["phase"] for row in ran.rows if row["phase"] != "drain") == {
        "warmup": 20,
        "window": 40,
    }
    assert all(row["error"] is None for row in ran.window)
    assert [row["scheduled_s"] for row in ran.rows] == pytest.approx(
        [number / 40 for number in range(len(ran.rows))]
    )
    assert all(row["sent_s"] >= row["scheduled_s"] for row in ran.rows if row["sent_s"])
    assert ran.measurement.window_s == (0.5, 1.5)


def test_a_ramp_begins_with_the_window(truth: Start, go: Go) -> None:
    server = truth()
    segments = [{"rate": 20.0, "duration": "500ms"}, {"rate": 20.0, "to": 80.0, "duration": 0.5}]
    load = {"ramp": segments, "arrivals": "constant"}
    ran = go(server.url, load=load, warmup=0.5, duration=1.0)
    halves = Counter(int(row["scheduled_s"] * 2 + 1e-9) for row in ran.window)
    assert halves == {1: 10, 2: 25}
    assert sum(row["phase"] == "warmup" for row in ran.rows) == 10
    assert all(row["error"] is None for row in ran.window)


def test_the_load_goes_on_until_the_window_is_answered(truth: Start, go: Go, tools: Any) -> None:
    server = truth(tools.answers(0.4))
    ran = go(server.url, load={"rate": 50.0, "arrivals": "constant"}, duration=0.3)
    drain = [row for row in ran.rows if row["phase"] == "drain"]
    assert all(row["error"] is None for row in ran.window)
    last_answer = max(row["end_s"] for row in ran.window)
    assert len(drain) >= 15
    assert {row["error"] for row in drain} >= {"aborted"}
    assert max(row["scheduled_s"] for row in drain) <= last_answer + 1.0
    assert ran.measurement.loop_lag_ms_p99 is None or ran.measurement.loop_lag_ms_p99 >= 0


def test_what_the_drain_does_not_wait_for_is_a_timeout(truth: Start, go: Go) -> None:
    server = truth(lambda *_: [])
    ran = go(server.url, duration=0.2, drain=0.3)
    assert {row["error"] for row in ran.window} == {"timeout"}
    assert all("end of the drain" in row["error_detail"] for row in ran.window)


def test_a_closed_loop_keeps_its_slots_busy_on_its_connections(
    truth: Start, go: Go, tools: Any
) -> None:
    server = truth(tools.answers(0.02, 0.005))
    ran = go(server.url, load={"concurrency": 4}, warmup=0.4, duration=1.0)
    assert server.connections == 4
    assert ran.measurement.connections_opened == 0
    events = sorted(
        (moment, step)
        for row in ran.rows
        for moment, step in ((row["sent_s"], 1), (row["end_s"], -1))
        if moment is not None
    )
    flying = peak = 0
    for _, step in events:
        flying += step
        peak = max(peak, flying)
    assert peak == 4
    assert len(ran.window) >= 4
    assert all(row["error"] is None for row in ran.window)


def test_a_failing_server_is_not_hammered(truth: Start, go: Go, tools: ModuleType) -> None:
    refuse = [tools.head("Content-Length: 0", status="503 Busy")]
    server = truth(lambda *_: refuse)
    ran = go(server.url, load={"concurrency": 2}, duration=1.0)
    assert {row["error"] for row in ran.window} == {"http"}
    assert len(ran.rows) <= 2 * 12


def test_groups_and_prefixes(truth: Start, go: Go) -> None:
    server = truth()
    ran = go(
        server.url, kind="shared-prefix", groups=3, prefix_len=32, question_len=8, duration=0.5
    )
    assert Counter(row["group"] for row in ran.rows[:9]) == {0: 3, 1: 3, 2: 3}
    assert {row["prompt_tokens"] for row in ran.window} == {40}
    assert len({tuple(seen.asked["prompt"][:32]) for seen in server.seen}) == 3


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_text_prompts(truth: Start, go: Go, api: str) -> None:
    server = truth()
    ran = go(server.url, api=api, prompt="text", model_tokenizer="words", question_len=33)
    assert {row["prompt_tokens"] for row in ran.window} == {33}
    assert all(row["error"] is None for row in ran.window)
    path = "/v1/chat/completions" if api == "chat" else "/v1/completions"
    assert {seen.path for seen in server.seen} == {path}


def test_the_same_seed_sends_the_same(truth: Start, go: Go) -> None:
    sent = []
    for seed in (1, 1, 2):
        server = truth()
        ran = go(server.url, seed=seed, load={"rate": 20.0}, duration=0.4)
        prompts = {tuple(seen.asked["prompt"]) for seen in server.seen}
        sent.append((prompts, [row["scheduled_s"] for row in ran.window]))
    assert sent[0][1] == sent[1][1] != sent[2][1]
    assert sent[0][0] & sent[1][0]
    assert not sent[0][0] & sent[2][0]


def test_the_key_is_sent_and_kept_nowhere(
    truth: Start, go: Go, tools: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "sk-very-secret")
    text = b"wrong key: sk-very-secret"
    refuse = [tools.head(f"Content-Length: {len(text)}", status="401 Unauthorized"), text]
    server = truth(lambda *_: refuse)
    ran = go(server.url, target_api_key_env="THE_KEY")
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer sk-very-secret"}
    assert {row["error_detail"] for row in ran.window} == {"HTTP 401: wrong key: ***"}
    assert not any(b"sk-very-secret" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "message"), [(None, "THE_KEY is not set"), ("a\r\nX: y", "no API key has")]
)
def test_a_key_that_cannot_be_sent_is_refused(
    go: Go, key: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("THE_KEY", key)
    with pytest.raises(StepFailure, match=message) as caught:
        go("http://127.0.0.1:9", target_api_key_env="THE_KEY")
    assert caught.value.failure is FailureClass.USER
    assert key is None or "X: y" not in str(caught.value)


def test_text_without_a_tokenizer_is_the_users_to_mend(go: Go) -> None:
    with pytest.raises(StepFailure, match=r"needs model\.tokenizer") as caught:
        go("http://127.0.0.1:9", prompt="text")
    assert caught.value.failure is FailureClass.USER


def test_server_metrics_are_scraped_beside_the_load(truth: Start, go: Go) -> None:
    server = truth(
        metrics=b"# TYPE vllm:num_requests_running gauge\n"
        b'vllm:num_requests_running{model_name="a\\"b",x="1"} 3.0\n'
        b'vllm:ttft_bucket{le="0.1"} 5\n'
        b"python_gc_objects_collected_total 9\n"
    )
    metrics = f"{server.url}/metrics"
    ran = go(server.url, duration=1.5, target_metrics_urls=(metrics,))
    assert len(ran.server_rows) >= 2
    for row in ran.server_rows:
        assert (row["metric"], row["value"]) == ("vllm:num_requests_running", 3.0)
        assert row["labels"] == 'model_name="a\\"b",x="1"'
        assert row["server"] == f"127.0.0.1:{server.port}"
    assert ran.measurement.notes == []


def test_metrics_that_do_not_answer_are_a_note(truth: Start, go: Go) -> None:
    server = truth(metrics=b"vllm:broken{ nonsense\n")
    dead = "http://127.0.0.1:9/metrics"
    ran = go(server.url, target_metrics_urls=(dead, f"{server.url}/metrics"), duration=1.0)
    assert any(dead in note for note in ran.measurement.notes)
    assert any("could not be read" in note for note in ran.measurement.notes)


def test_an_idle_connection_that_the_server_let_go_is_no_error(
    truth: Start, go: Go, tools: ModuleType
) -> None:
    answered: set[int] = set()

    def script(seen: Any, number: int) -> Any:
        if seen.connection in answered:
            return [tools.CLOSE]
        answered.add(seen.connection)
        return tools.answers()(seen, number)

    server = truth(script)
    ran = go(server.url, load={"rate": 0.8, "arrivals": "constant"}, duration=3.0)
    assert [row["error"] for row in ran.window] == [None, None, None]
    assert any("sent again" in note for note in ran.measurement.notes)


@pytest.mark.parametrize("load", [{"rate": 30.0, "arrivals": "constant"}, {"concurrency": 2}])
def test_a_server_that_closes_after_each_answer_costs_no_request(
    truth: Start, go: Go, tools: ModuleType, load: dict[str, Any]
) -> None:
    whole = tools.answers(0.02)
    server = truth(lambda seen, number: [*whole(seen, number), tools.CLOSE])
    ran = go(server.url, load=load, duration=1.0)
    assert {row["error"] for row in ran.window} == {None}
    assert len(ran.window) >= 10
    assert any("after each answer without saying so" in note for note in ran.measurement.notes)
    by_connection = Counter(seen.connection for seen in server.seen)
    assert set(by_connection.values()) == {1}


def test_a_server_that_dies_ends_the_run_and_keeps_the_rows(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    server = truth(tools.answers(0.05))
    asked = tools.job(tmp_path, server.url, load={"concurrency": 3}, duration=60.0)
    died = threading.Event()

    def watch(progress: Any) -> None:
        if progress.done >= 5 and not died.is_set():
            died.set()
            server.close()

    with pytest.raises(StepFailure, match="answered nothing for 5 s") as caught:
        harness("native").run(asked, progress=watch, stop=threading.Event())
    assert caught.value.failure is FailureClass.SERVER
    rows, _ = tools.left(tmp_path)
    errors = Counter(row["error"] for row in rows)
    assert errors[None] >= 5
    assert errors["connect"] >= 3
    assert any("cannot connect" in (row["error_detail"] or "") for row in rows)


@pytest.mark.parametrize("load", [{"rate": 20.0}, {"concurrency": 3}])
def test_nobody_listens(
    tmp_path: Path, tools: ModuleType, monkeypatch: pytest.MonkeyPatch, load: dict[str, Any]
) -> None:
    monkeypatch.setattr("llmatrix.harness.native.load.OUTAGE_S", 0.5)
    orders = orders_of(tools.job(tmp_path, "http://127.0.0.1:9", load=load, duration=60.0))
    findings = asyncio.run(measure(orders, Traffic(orders, None), Alone()))
    assert findings.outage is not None
    assert "cannot connect to 127.0.0.1:9" in findings.outage
    exchanges = list(in_order([orders.spool(0)]))
    assert {exchange.error for exchange in exchanges} <= {"connect", "aborted"}
    assert len(exchanges) >= 3
    assert all(exchange.end is not None for exchange in exchanges)


def test_stop_ends_at_once(truth: Start, tools: ModuleType, tmp_path: Path) -> None:
    server = truth()
    stop = threading.Event()
    asked = tools.job(tmp_path, server.url, duration=600.0)
    with pytest.raises(Stopped):
        harness("native").run(asked, progress=lambda _: stop.set(), stop=stop)
    tools.until(lambda: not server._transports)


def test_the_child_ends_when_its_parent_is_killed(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    server = truth()
    code = (
        "import importlib.util, pathlib, sys, threading\n"
        "spec = importlib.util.spec_from_file_location('tools', sys.argv[1])\n"
        "tools = sys.modules['tools'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(tools)\n"
        "job = tools.job(pathlib.Path(sys.argv[2]), sys.argv[3], duration=600.0)\n"
        "tools.harness('native').run(job, progress=print, stop=threading.Event())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tools.__file__), str(tmp_path), server.url],
        stdout=subprocess.DEVNULL,
    )
    tools.until(lambda: len(server.seen) >= 3)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    tools.until(lambda: not server._transports)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that only those trust who are told to."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


def test_a_trusted_certificate_of_another_name_does_not_verify(
    truth: Start, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_certificate(tmp_path, "DNS:elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*other)
    server = truth(tls=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(other[0]))
    with pytest.raises(StepFailure, match="does not verify") as caught:
        go(server.url)
    assert caught.value.failure is FailureClass.USER
    assert not server.seen, "no request, and no key, is sent to it"


def test_tls_is_spoken_and_verified(
    truth: Start, go: Go, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = truth(tls=context)
    with pytest.raises(StepFailure, match="does not verify") as caught:
        go(server.url)
    assert caught.value.failure is FailureClass.USER
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    ran = go(server.url)
    assert [row["error"] for row in ran.window] == [None] * 10


def test_proxies_of_the_environment_are_left_alone(
    truth: Start, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    ran = go(truth().url)
    assert [row["error"] for row in ran.window] == [None] * 10


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins to a core")
def test_a_starved_client_is_invalid_and_says_why(
    truth: Start, tools: ModuleType, tmp_path: Path
) -> None:
    # 50 events in each write cost the server little and the client much.
    write = tools.chunk(tools.token() * 50)
    end = [tools.chunk(tools.usage(20, 5000) + tools.END), b"0\r\n\r\n"]
    server = truth(lambda *_: [tools.head(), *([write, 0.01] * 100), *end])
    job = tools.job(tmp_path, server.url, load={"concurrency": 12}, duration=3.0, shards=1)
    core = max(os.sched_getaffinity(0))

    def starved() -> Measurement:
        os.sched_setaffinity(0, {core})  # of this thread, and of what it starts
        return harness("native").run(job, progress=lambda _: None, stop=threading.Event())

    with contextlib.ExitStack() as loops:
        # Each in a session of its own, for the kernel shares a core among sessions first: the
        # client's share is then a thirteenth, and that is less than it needs.
        for _ in range(12):
            loop = subprocess.Popen(
                [sys.executable, "-c", "while True: pass"], start_new_session=True
            )
            loops.callback(loop.wait)
            loops.callback(loop.kill)
            os.sched_setaffinity(loop.pid, {core})
        with ThreadPoolExecutor(1) as threads:
            measured = threads.submit(starved).result()
    (sender,) = measured.senders
    assert sender.cores == 1
    strain = Strain(sender.cpu, sender.cpu_wait, cores=sender.cores)
    checks = judge(
        pq.read_table(tmp_path / "requests.parquet"),
        window_s=measured.window_s,
        asked=Asked(concurrency=12),
        observed=Observed(loop_lag_ms_p99=measured.loop_lag_ms_p99, strain=strain),
    )
    failed = {check.name: check for check in checks if check.verdict is Verdict.FAIL}
    assert "client_cpu_wait" in failed
    assert "with one core to run on: give it a core of its own" in failed["client_cpu_wait"].advice


def test_a_child_that_breaks_shows_its_log(go: Go, tmp_path: Path, truth: Start) -> None:
    (tmp_path / "requests.parquet").mkdir()
    with pytest.raises(StepFailure, match="ended with code 1") as caught:
        go(truth().url, duration=0.2)
    assert caught.value.failure is FailureClass.WORKLOAD
    assert "requests.parquet" in caught.value.log


def test_the_child_stays_lean() -> None:
    code = "import llmatrix.harness.native.child, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout.split()
    assert not {"pydantic", "pyarrow", "numpy", "prometheus_client", "yaml"} & set(loaded)
