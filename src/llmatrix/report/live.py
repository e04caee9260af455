"""The report served while a run goes on: the same page, made anew when records arrive.

The server knows two addresses and reads nothing by a name that a request gives, so no request
reaches a file. It answers only requests that name the host it was asked to serve on, so that no
other web page can read it through a name of its own (DNS rebinding).
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from llmatrix.errors import EnvironmentFault, LlmatrixError
from llmatrix.report.page import render_page
from llmatrix.report.summary import Summary
from llmatrix.results.dataset import load
from llmatrix.results.store import Store

LOOPBACK: Final = "127.0.0.1"
_NEWS: Final = ("record.json", "failure.json", "experiment.json")
"""Files whose coming or going makes another page."""
_LOOK_S: Final = (1.0, 10.0)
"""Seconds between two looks at a folder, and at an object store, whose listings cost."""
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LivePage:
    """The page of an experiment and the version of the records it was made of."""

    def __init__(
        self, store: Store, experiment: str, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._experiment = experiment
        self._now = now
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._version = ""
        self._made: tuple[str, bytes] = ("", b"")

    def version(self) -> str:
        """Give a text that changes when records come, go or change their size.

        Raises:
            StoreFault: the store cannot be read.
        """
        with self._lock:
            return self._look()

    def content(self) -> tuple[str, bytes]:
        """Give the version and the page made of it; made anew only where there is news.

        Raises:
            StoreFault: the store cannot be read.
        """
        with self._lock:
            version = self._look()
            if self._made[0] != version:
                summary = Summary(load(self._store, self._experiment))
                self._made = version, render_page(summary, live=version).encode()
            return self._made

    def _look(self) -> str:
        wait = _LOOK_S[self._store.parallel > 1]
        if self._looked is None or self._now() - self._looked >= wait:
            sizes = self._store.sizes(f"{self._experiment}/")
            news = [f"{n} {s}" for n, s in sizes.items() if n.rpartition("/")[2] in _NEWS]
            self._version = hashlib.sha256("\n".join(news).encode()).hexdigest()[:20]
            self._looked = self._now()
        return self._version


@dataclass(frozen=True, slots=True)
class _Reply:
    status: HTTPStatus
    content: bytes
    kind: str = "text/plain"
    tag: str = ""


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/`` with the page and ``/version`` with its version."""

    server: LiveServer
    timeout = 20
    server_version = "llmatrix"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a body."""
        self._send(self._reply())

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._send(self._reply())

    def _reply(self) -> _Reply:
        hosts = self.server.hosts
        if hosts and self.headers.get("Host", "").lower() not in hosts:
            return _Reply(HTTPStatus.MISDIRECTED_REQUEST, b"another host is served here\n")
        path = self.path.partition("?")[0]
        try:
            if path == "/version":
                return _Reply(HTTPStatus.OK, self.server.page.version().encode())
            if path == "/":
                version, content = self.server.page.content()
                tag = f'"{version}"'
                if self.headers.get("If-None-Match") == tag:
                    return _Reply(HTTPStatus.NOT_MODIFIED, b"", tag=tag)
                return _Reply(HTTPStatus.OK, content, "text/html", tag)
        except LlmatrixError as error:
            return _Reply(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode())
        return _Reply(HTTPStatus.NOT_FOUND, b"there is nothing here; the report is at /\n")

    def _send(self, reply: _Reply) -> None:
        self.send_response(reply.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if reply.tag:
            self.send_header("ETag", reply.tag)
        self.send_header("Content-Type", f"{reply.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: a page asks every other second."""


class LiveServer(ThreadingHTTPServer):
    """Serves one experiment's page until it is told to end.

    Raises:
        EnvironmentFault: the port is in use, or the address is none of this machine's.
    """

    daemon_threads = True

    def __init__(self, page: LivePage, host: str, port: int) -> None:
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise EnvironmentFault(_why_not(error, host, port)) from error
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self.server_port}/"
        # Whom others reach, they may name as they like.
        names = (name, "localhost") if is_loopback(host) else ()
        self.hosts = {f"{each}:{self.server_port}" for each in names}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about readers who went away."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port, or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user; choose one above 1023 with --port"
    reason = error.strerror or str(error)
    return f"{host} port {port} cannot be served on: {reason}; name an address of this machine"
