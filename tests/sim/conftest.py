"""Engines without time, and servers and routers as the child processes that they are in use."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmatrix.sim.latency import StepTime, step_time
from llmatrix.sim.presets import accelerator, model
from llmatrix.sim.scheduler import Engine, Limits
from llmatrix.sim.scheduler import Sequence as Prompt

MODEL = "Qwen/Qwen3-0.6B"


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something to become true, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return found


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The JSON events of a stream that ended as it should."""
        *events, last = self.body.decode().strip().split("\n\n")
        assert last == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @property
    def text(self) -> str:
        return "".join(event["choices"][0]["text"] for event in self.events if event["choices"])


@contextmanager
def asking(url: str, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
    """Send one request and give the answer while it comes."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body).encode())
        yield connection.getresponse()
    finally:
        connection.close()


def ask(
    url: str, path: str, body: object = None, *, timeout_s: float = 20.0, **headers: str
) -> Reply:
    """Send one request; a body that is not bytes goes as JSON."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request("GET" if data is None else "POST", path, data, headers)
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def metric(url: str, name: str, **labels: str) -> float:
    """Read one figure from a program's metrics, by Prometheus' own parser."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    text = ask(url, "/metrics").body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    raise AssertionError(f"{name} is not in the metrics")


@dataclass
class Program:
    """A running simulator process."""

    process: subprocess.Popen[bytes]
    announced: dict[str, Any]
    log: Path

    @property
    def servers(self) -> list[str]:
        return list(self.announced["servers"])

    @property
    def url(self) -> str:
        return str(self.announced.get("router") or self.announced["servers"][0])

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)


@dataclass
class Programs:
    """Starts simulator processes; all of them are ended by the fixture."""

    folder: Path
    running: list[Program] = field(default_factory=list)

    def start(self, *arguments: str) -> Program:
        number = len(self.running)
        announce, log = self.folder / f"{number}.json", self.folder / f"{number}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "llmatrix.sim", *arguments, "--announce", str(announce)],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

        def announced() -> bool:
            assert process.poll() is None, log.read_text()
            return announce.exists()

        program = Program(process, {}, log)
        self.running.append(program)
        until(announced)
        program.announced = json.loads(announce.read_bytes())
        return program

    def serve(self, *arguments: str, model: str = MODEL) -> Program:
        return self.start("serve", "--model", model, *arguments)

    def route(self, config: str, servers: Path | None = None) -> Program:
        follow = () if servers is None else ("--servers-file", str(servers))
        return self.start("route", "--config", config, *follow)

    def close(self) -> None:
        for program in self.running:
            if program.process.poll() is None:
                program.process.kill()
            program.process.wait(10)


@contextmanager
def running(folder: Path) -> Iterator[Programs]:
    programs = Programs(folder)
    with ExitStack() as stack:
        stack.callback(programs.close)
        yield programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def router_runner() -> Any:
    """Give tests a way to start programs for longer than one of them."""
    return running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Two replicas that are shared by a module's tests."""
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started.serve("--replicas", "2")


@pytest.fixture(scope="session")
def times() -> StepTime:
    return step_time(accelerator("H100"), model("Qwen/Qwen3-8B"), 1)


@pytest.fixture
def engine_of(times: StepTime) -> Callable[..., Engine]:
    def make(kv_tokens: int = 100_000, **limits: Any) -> Engine:
        return Engine(Limits(**limits), times, kv_tokens)

    return make


def prompt_of(ids: Sequence[int], max_tokens: int = 1, arrival: float = 0.0) -> Prompt:
    return Prompt(array("q", ids), max_tokens, first_word=7, arrival=arrival)


def drain(engine: Engine, now: float = 0.0, limit: int = 100_000) -> float:
    """Step an engine until it is idle; give the time at which it was."""
    for _ in range(limit):
        step = engine.schedule(now)
        if step is None:
            assert not engine.running
            assert not engine.waiting
            return now
        now += step.seconds
        engine.finish(step, now)
    raise AssertionError("it never became idle")


@pytest.fixture
def tools() -> Any:
    """Give tests the functions of this file, which they cannot import."""

    class Tools:
        ask = staticmethod(ask)
        asking = staticmethod(asking)
        metric = staticmethod(metric)
        until = staticmethod(until)
        prompt = staticmethod(prompt_of)
        drain = staticmethod(drain)
        model = MODEL

    return Tools
