"""The HTTP/1.1 server side that model server and router share: asyncio.Protocol and httptools."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol, cast

import httptools
import orjson

from llmatrix import __version__

_LOG: Final = logging.getLogger(__name__)
MAX_BODY: Final = 16 * 2**20
MAX_HEAD: Final = 64 * 2**10
_MAX_PIPELINED: Final = 16
SERVER: Final = f"llmatrix-sim/{__version__}".encode()
JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
METRICS_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
LAST_CHUNK: Final = b"0\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One request, whole.

    Attributes:
        headers: names in lower case; of repeated ones the last.
        chunked: whether the client understands chunked answers (HTTP/1.1).
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    chunked: bool


class Application(Protocol):
    """What answers requests: it must answer each one, now or later, exactly once."""

    def handle(self, request: Request, connection: Connection) -> None:
        """Take a request; whatever it raises becomes a 500 answer."""


def error_body(status: int, message: str, kind: str | None = None) -> bytes:
    """Render an error as OpenAI's API and vLLM do."""
    name = kind or HTTPStatus(status).phrase.replace(" ", "") + "Error"
    error = {"message": message, "type": name, "param": None, "code": status}
    return orjson.dumps({"error": error})


def response(status: int, body: bytes, content_type: bytes, *, keep_alive: bool) -> bytes:
    """Render a whole answer."""
    return b"HTTP/1.1 %d %s\r\nserver: %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n%s" % (
        status,
        HTTPStatus(status).phrase.encode(),
        SERVER,
        content_type,
        len(body),
        b"" if keep_alive else b"connection: close\r\n",
        body,
    )


def stream_head(request: Request) -> bytes:
    """Render the head of a streamed answer."""
    framing = b"transfer-encoding: chunked\r\n" if request.chunked else b""
    closing = b"" if request.keep_alive and request.chunked else b"connection: close\r\n"
    return b"HTTP/1.1 200 OK\r\nserver: %s\r\ncontent-type: %s\r\n%s%s\r\n" % (
        SERVER,
        EVENT_STREAM,
        framing,
        closing,
    )


class Connection(asyncio.Protocol):
    """One client's connection: parses requests, hands them over one at a time.

    Attributes:
        transport: where answers are written; an application may write to it directly between
            ``handle`` and ``done``.
        on_lost: called once when the client leaves before ``done``.
        on_pause, on_resume: called when the client reads too slowly, and when it caught up.
    """

    def __init__(self, application: Application, connections: set[Connection]) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set on connection
        self.on_lost: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.current: Request | None = None
        self._application = application
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._closing = False
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._in_head = True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell whoever is answering."""
        self._connections.discard(self)
        self._closing = True
        self._queue.clear()
        self.current = None
        if self.on_lost is not None:
            lost, self.on_lost = self.on_lost, None
            lost()

    def data_received(self, data: bytes) -> None:
        """Parse; a request that is no HTTP is answered and the connection closed."""
        if self._closing:
            return
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refuse(400, "this server speaks HTTP/1.1 only")
        except httptools.HttpParserError as error:
            if not self._closing:
                self.refuse(400, f"not a valid HTTP request: {error}")
        if self._in_head and self._head_size > MAX_HEAD:
            self.refuse(431, f"more than {MAX_HEAD} bytes of headers")

    def eof_received(self) -> bool:
        """Close: a client that ended its side takes no answer."""
        return False

    def pause_writing(self) -> None:
        """Pass the client's back pressure on."""
        if self.on_pause is not None:
            self.on_pause()

    def resume_writing(self) -> None:
        """Pass on that the client caught up."""
        if self.on_resume is not None:
            self.on_resume()

    # httptools

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Note that the head is over; agree to a body that the client asks about."""
        self._in_head = False
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body, up to ``MAX_BODY``."""
        self._size += len(body)
        if self._size > MAX_BODY:
            if not self._closing:
                self.refuse(413, f"a body of more than {MAX_BODY} bytes")
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the request over, or queue it behind the one that is being answered."""
        if self._closing:
            return
        version = self._parser.get_http_version()
        request = Request(
            self._parser.get_method().decode(),
            self._url.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
            version != "1.0",
        )
        self._reset()
        self._head_size = 0
        if self.current is None:
            self._start(request)
        elif len(self._queue) < _MAX_PIPELINED:
            self._queue.append(request)
        else:
            self.refuse(400, f"more than {_MAX_PIPELINED} pipelined requests")

    # for applications

    def _start(self, request: Request) -> None:
        self.current = request
        try:
            self._application.handle(request, self)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _LOG.exception("%s %s failed", request.method, request.path)
            lost, self.on_lost = self.on_lost, None
            if lost is not None:
                lost()
            self.refuse(500, "the simulator failed on this request; its log says why")

    def reply(self, status: int, body: bytes, content_type: bytes = JSON) -> None:
        """Answer the current request, whole."""
        request = self.current
        if request is None:
            return
        keep = request.keep_alive
        self.transport.write(response(status, body, content_type, keep_alive=keep))
        self.done(keep_alive=keep)

    def fail(self, status: int, message: str) -> None:
        """Answer the current request with an error."""
        self.reply(status, error_body(status, message))

    def done(self, *, keep_alive: bool) -> None:
        """End the current request, after its answer was written."""
        self.current = self.on_lost = self.on_pause = self.on_resume = None
        if not keep_alive:
            self._closing = True
            self.transport.close()
        elif self._queue:
            self._start(self._queue.popleft())

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error and close; for requests that cannot be parsed to their end.

        An answer that is already under way is cut off: that is all HTTP/1.1 can say then.
        """
        if self._closing:
            return
        self._closing = True
        if self.on_lost is None:
            body = error_body(status, message)
            self.transport.write(response(status, body, JSON, keep_alive=False))
        self.transport.close()
