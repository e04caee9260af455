"""An HTTP server in this process that answers as a test writes, in place of an API server.

The real one is asked in tests/e2e; here is what it does only when it is in trouble.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from lightkube.config.kubeconfig import KubeConfig

from llmatrix.cluster.api import Cluster

DROP = object()
"""In place of an answer: the connection breaks."""
HOLD = object()
"""As the last event of a stream: it stays open, silent, until the test ends."""


@dataclass
class Asked:
    method: str
    path: str
    params: dict[str, str]
    body: Any
    accept: str = ""


@dataclass
class Script:
    """Answers by ``METHOD /path``, each a list of which the last is repeated.

    An answer is (status, document), ``DROP``, or a list of events: a stream that then ends.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def of(self, method: str) -> list[Asked]:
        return [each for each in self.asked if each.method == method]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Script

    def answer(self) -> None:
        parts, size = urlsplit(self.path), int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        params = dict(parse_qsl(parts.query))
        accept = self.headers.get("Accept", "")
        self.script.asked.append(Asked(self.command, parts.path, params, body, accept))
        verb = "WATCH" if "watch" in params else self.command
        planned = self.script.answers.get(f"{verb} {parts.path}", [(404, {"message": "nothing"})])
        one = planned.pop(0) if len(planned) > 1 else planned[0]
        if one is DROP:
            self.close_connection = True
        elif isinstance(one, list):
            self.stream(one)
        else:
            self.whole(*one)

    def whole(self, status: int, document: Any) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events: list[Any]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for each in events:
            if each is DROP:
                self.close_connection = True
                return
            if each is HOLD:
                self.script.ended.wait(30)
                break
            line = json.dumps(each).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - of the library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def script() -> Iterator[Script]:
    written = Script()
    handler = type("Handler", (_Handler,), {"script": written})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        written.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield written
        written.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def api(script: Script) -> Iterator[Cluster]:
    """A connection to it that is patient for two seconds."""
    config = KubeConfig.from_server(script.url).get()
    assert config is not None
    with Cluster(config, patience_s=2.0) as cluster:
        yield cluster


@pytest.fixture
def drop() -> object:
    return DROP


@pytest.fixture
def hold() -> object:
    return HOLD
