"""An S3 service to test against: moto's, as a real HTTP server, behind a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmatrix.results.object_address import Patience, parse
from llmatrix.results.objects import ObjectStore
from llmatrix.results.store import Store

QUICK = Patience(retries=12, first_pause_s=0.005, most_pause_s=0.05, in_all_s=30, answer_s=10)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "secret-word",
    "AWS_REGION": "us-east-1",
}
SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""
_numbers = itertools.count()


@dataclass
class Trouble:
    """What a proxy does to calls, as shares of them; drawn from a seed.

    Attributes:
        fail: answered 500 without asking the service.
        throttle: answered 503 SlowDown.
        cut_up: the connection breaks off half way through the request's body.
        cut_down: … half way through the answer.
        delay_s: every answer is held back so long.
        deny: when set, every call is answered so: status, S3's code.
        only: calls whose method is another pass untouched.
    """

    fail: float = 0.0
    throttle: float = 0.0
    cut_up: float = 0.0
    cut_down: float = 0.0
    delay_s: float = 0.0
    deny: tuple[int, str] | None = None
    only: str = ""


@dataclass
class Proxy:
    """A proxy in front of an HTTP service, in a thread of its own; one call per connection.

    ``received`` and ``sent`` count the bytes of bodies up and of whole answers down.
    """

    upstream: int
    trouble: Trouble
    port: int = 0
    host: str = "127.0.0.1"
    calls: list[str] = field(default_factory=list)
    troubled: int = 0
    received: int = 0
    sent: int = 0
    _random: Random = field(default_factory=lambda: Random(11))  # noqa: S311 - no secret
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        starting = asyncio.start_server(self._call, self.host, self.port)
        server = self._loop.run_until_complete(starting)
        self.port = server.sockets[0].getsockname()[1]
        self._loop.call_soon(ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end(server))
        self._loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        # Transports close in the rounds of the loop that follow; none is left for the collector.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._writers.discard(writer)

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.calls.append(line)
        headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields if f)}
        length = int(headers.get("content-length", 0))
        what = self._draw(line.partition(" ")[0])
        if what == "cut_up":
            await reader.readexactly(length // 2)
            writer.transport.abort()
            return
        body = await reader.readexactly(length)
        self.received += length
        if what in {"fail", "throttle", "deny"}:
            status, code = (
                self.trouble.deny
                or {
                    "fail": (500, "InternalError"),
                    "throttle": (503, "SlowDown"),
                }[what]
            )
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            writer.write(_head(status, len(text)) + text)
            await writer.drain()
            return
        answer = await self._forward(head, body)
        await asyncio.sleep(self.trouble.delay_s)
        if what == "cut_down":
            writer.write(answer[: answer.index(b"\r\n\r\n") + 4 + len(answer) // 3])
            await writer.drain()
            writer.transport.abort()
            return
        self.sent += len(answer)
        writer.write(answer)
        await writer.drain()

    def _draw(self, method: str) -> str:
        if self.trouble.deny:
            return "deny"
        if self.trouble.only not in {"", method}:
            return ""
        drawn = self._random.random()
        for name in ("fail", "throttle", "cut_up", "cut_down"):
            share = getattr(self.trouble, name)
            if drawn < share:
                self.troubled += 1
                return name
            drawn -= share
        return ""

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            head = head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            writer.write(head + body)
            await writer.drain()
            answer = await reader.read(-1)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return answer


def _head(status: int, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status} No\r\ncontent-type: application/xml\r\n"
        f"content-length: {length}\r\nconnection: close\r\n\r\n"
    ).encode()


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of an S3 service, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.strip().isdecimal())
        try:
            yield int(line)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(20)


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket of its own for a test, and an environment that reaches it."""
    for variable in list(os.environ):
        if variable.startswith(("AWS_", "AZURE_", "GOOGLE_")) or variable.lower().endswith(
            "_proxy"
        ):
            monkeypatch.delenv(variable)
    for variable, value in CREDENTIALS.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LLMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    name = f"bucket-{os.getpid()}-{next(_numbers)}"
    request = urllib.request.Request(f"http://127.0.0.1:{s3_port}/{name}", method="PUT")
    with urllib.request.urlopen(request):  # noqa: S310 - our own
        return name


@pytest.fixture
def proxy(s3_port: int) -> Iterator[Callable[..., Proxy]]:
    """Start a proxy that makes the trouble asked for: ``proxy(fail=0.3)``."""
    running: list[Proxy] = []

    def start(**trouble: Any) -> Proxy:
        made = Proxy(s3_port, Trouble(**trouble))
        made.start()
        running.append(made)
        return made

    yield start
    for made in running:
        made.stop()


@pytest.fixture
def object_store(
    bucket: str, proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ObjectStore]:
    """Open a fresh prefix of the bucket, through a proxy where trouble is asked for."""

    def make(patience: Patience = QUICK, **trouble: Any) -> ObjectStore:
        if trouble:
            port = proxy(**trouble).port
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        return ObjectStore(parse(f"s3://{bucket}/prefix-{next(_numbers)}"), patience)

    return make


@pytest.fixture
def quick() -> Patience:
    """A patience with short pauses, for tests."""
    return QUICK


@pytest.fixture
def upload_folder() -> Callable[[Path, Store], None]:
    """Put every file under a folder into a store, under the folder's name."""

    def put_all(folder: Path, store: Store) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                store.put(f"{folder.name}/{path.relative_to(folder).as_posix()}", path)

    return put_all
