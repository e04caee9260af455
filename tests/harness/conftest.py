"""A server whose truth is known, over real sockets, and a way to run a harness against it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace  # noqa: F401 - tests reach for it here
from pathlib import Path
from types import ModuleType
from typing import Any

import httptools
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from llmatrix.columns import REQUEST_COLUMNS, SERVER_COLUMNS, arrow_schema
from llmatrix.harness.protocol import Job, Measurement, Progress
from llmatrix.harness.registry import harness
from llmatrix.spec.experiment import Model
from llmatrix.spec.workloads import Workload
from llmatrix.target import Target

_WORKLOAD: TypeAdapter[Workload] = TypeAdapter(Workload)
CLOSE = "close"
RESET = "reset"
HALF_CLOSE = "half-close"
Action = bytes | float | str
"""Bytes to send, seconds to wait, or one of the three ways to end the connection."""


def chunk(body: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def head(*headers: str, status: str = "200 OK", kind: str = "text/event-stream") -> bytes:
    """A response's head; a chunked body follows unless the headers say otherwise."""
    framed = any(h.lower().startswith(("content-length", "connection: close")) for h in headers)
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *headers]
    lines += [] if framed else ["Transfer-Encoding: chunked"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def event(document: Any) -> bytes:
    """One server-sent event."""
    data = document if isinstance(document, str) else json.dumps(document)
    return f"data: {data}\n\n".encode()


def token(text: str = "w1 ", **fields: Any) -> bytes:
    """An event with content, as /v1/completions sends it."""
    choice = {"index": 0, "text": text, "finish_reason": None}
    return event({"object": "text_completion", "choices": [choice], **fields})


def usage(prompt: int, output: int, cached: int | None = None) -> bytes:
    """The final event, with the counts."""
    counts: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": output}
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return event({"choices": [], "usage": counts})


END = event("[DONE]")


def prompt_tokens(asked: dict[str, Any]) -> int:
    """Count a prompt as the simulator does: ids, or words."""
    if "messages" in asked:
        return sum(len(message["content"].split()) for message in asked["messages"])
    prompt = asked["prompt"]
    return len(prompt.split()) if isinstance(prompt, str) else len(prompt)


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    at: float
    connection: int
    path: str
    headers: dict[str, str]
    asked: dict[str, Any]


Script = Callable[[Seen, int], Sequence[Action]]


def answers(ttft: float = 0.0, itl: float = 0.0, *headers: str) -> Script:
    """A true answer: first token after ``ttft`` seconds, each next one after ``itl``."""

    def script(seen: Seen, _: int) -> Sequence[Action]:
        count = seen.asked["max_tokens"]
        actions: list[Action] = [ttft, head(*headers)]
        for place in range(count):
            actions += [itl if place else 0.0, chunk(token(f"w{place} "))]
        return [
            *actions,
            chunk(usage(prompt_tokens(seen.asked), count, 0)),
            chunk(END),
            b"0\r\n\r\n",
        ]

    return script


@dataclass
class TruthServer:
    """Answers every POST by ``script`` (given the request and its number), in a thread."""

    script: Script = field(default_factory=answers)
    metrics: bytes = b""
    tls: ssl.SSLContext | None = None
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._transports: set[asyncio.Transport] = set()
        server = await self._loop.create_server(
            lambda: _Peer(self), "127.0.0.1", self.port, ssl=self.tls, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Die: stop listening and break every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)


class _Peer(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, server: TruthServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._server.connections
        self._server.connections += 1
        self._server._transports.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._server._transports.discard(self._transport)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            text = self._server.metrics
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
            )
            return
        seen = Seen(
            time.monotonic(),
            self._number,
            self._url.decode(),
            self._headers,
            json.loads(bytes(self._body)),
        )
        self._server.seen.append(seen)
        actions = self._server.script(seen, len(self._server.seen) - 1)
        self._task = self._server._loop.create_task(self._play(actions))

    async def _play(self, actions: Sequence[Action]) -> None:
        due = self._server._loop.time()
        for action in actions:
            if isinstance(action, bytes):
                self._transport.write(action)
            elif isinstance(action, float):
                due += action
                if action:
                    await asyncio.sleep(max(0.0, due - self._server._loop.time()))
            elif action == HALF_CLOSE:
                self._transport.write_eof()
            elif action == RESET:
                linger = struct.pack("ii", 1, 0)
                raw = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self._transport.abort()
            else:
                self._transport.close()


@pytest.fixture
def truth() -> Iterator[Callable[..., TruthServer]]:
    """Start truth servers; they die with the test."""
    started: list[TruthServer] = []

    def start(*args: Any, **kwargs: Any) -> TruthServer:
        started.append(TruthServer(*args, **kwargs))
        return started[-1]

    yield start
    for server in started:
        server.close()


@dataclass
class Ran:
    """What one run of a harness left."""

    measurement: Measurement
    rows: list[dict[str, Any]]
    server_rows: list[dict[str, Any]]
    progress: list[Progress]

    @property
    def window(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["phase"] == "window"]


Go = Callable[..., Ran]


def job(folder: Path, url: str, **changes: Any) -> Job:
    """A short workload; keys of the target and the model begin with ``target_``, ``model_``."""
    target = {k.removeprefix("target_"): v for k, v in changes.items() if k.startswith("target_")}
    model = {k.removeprefix("model_"): v for k, v in changes.items() if k.startswith("model_")}
    workload: dict[str, Any] = {
        "kind": "random",
        "question_len": 20,
        "output_len": 5,
        "load": {"rate": 20.0, "arrivals": "constant"},
        "duration": 0.5,
        "warmup": 0.0,
        "drain": 5.0,
        "timeout": 5.0,
    } | {k: v for k, v in changes.items() if not k.startswith(("target_", "model_"))}
    # None takes a field out that the kind does not have
    workload = {name: value for name, value in workload.items() if value is not None}
    seed = int(workload.pop("seed", 1))
    return Job(
        target=Target(url, "m", **target),
        model=Model(name="m", **model),
        workload=_WORKLOAD.validate_python(workload),
        seed=seed,
        folder=folder,
    )


def left(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read the files of a run; their columns are as the contract says."""
    requests = pq.read_table(folder / "requests.parquet")
    server = pq.read_table(folder / "server.parquet")
    assert requests.schema.equals(arrow_schema(REQUEST_COLUMNS))
    assert server.schema.equals(arrow_schema(SERVER_COLUMNS))
    return requests.to_pylist(), server.to_pylist()


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Run a harness against a server, to the end."""

    def run(url: str, name: str = "native", **changes: Any) -> Ran:
        told: list[Progress] = []
        asked = job(tmp_path, url, **changes)
        measurement = harness(name).run(asked, progress=told.append, stop=threading.Event())
        return Ran(measurement, *left(tmp_path), told)

    return run


@pytest.fixture(scope="session")
def tools() -> ModuleType:
    """Give this module: test files cannot import it, for the folder is no package."""
    return sys.modules[__name__]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


if __name__ == "__main__":
    # A truth server of its own, for measuring by hand: python conftest.py TTFT ITL
    alone = TruthServer(answers(float(sys.argv[1]), float(sys.argv[2])))
    sys.stdout.write(f"{alone.url}\n")
    sys.stdout.flush()
    sys.stdin.read()
    alone.close()
