"""The router's connections to replicas: kept open, used one request at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol, cast

import httptools

from llmatrix.sim.endpoint import Endpoint

_LOG: Final = logging.getLogger(__name__)
_HEAD_END: Final = b"\r\n\r\n"
_CONNECT_TIMEOUT_S: Final = 5.0
_MAX_HEAD: Final = 64 * 2**10


class Taker(Protocol):
    """Who gets an answer."""

    def attach(self, upstream: Upstream) -> bool:
        """Learn over which connection it comes; say whether it is still wanted."""

    def on_head(self, head: bytes, rest: bytes) -> None:
        """Take the answer's head, without its last empty line, and what came of its body."""

    def on_data(self, data: bytes) -> None:
        """Take more of the body, as it came."""

    def on_end(self, *, keep_alive: bool) -> None:
        """Learn that the answer is whole."""

    def on_failure(self, reason: str) -> None:
        """Learn that there will be no more of it, or none at all."""


class Upstream(asyncio.Protocol):
    """One connection to a replica."""

    def __init__(self, pool: Pool) -> None:
        self.transport: asyncio.Transport | None = None
        self._pool = pool
        self._taker: Taker | None = None
        self._request = b""
        self._reused = False
        self._paused = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head = bytearray()
        self._in_head = True
        self._whole = self._keep = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def send(self, request: bytes, taker: Taker, *, reused: bool) -> None:
        """Send a request, whole; its answer goes to ``taker``."""
        self._request, self._taker, self._reused = request, taker, reused
        if self.transport is not None:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Pass data on; the parser only finds the answer's end."""
        taker = self._taker
        if taker is None:
            self._close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"it answered with something that is no HTTP: {error}")
            return
        if self._in_head:
            data = self._take_head(taker, data)
        if data:
            taker.on_data(data)
        if self._whole:
            self._finish(taker)

    def _take_head(self, taker: Taker, data: bytes) -> bytes:
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0:
            if len(self._head) > _MAX_HEAD:
                self._fail("it answered with endless headers")
            return b""
        self._in_head = False
        head = bytes(self._head)
        taker.on_head(head[: end + 2], head[end + 4 :])
        return b""

    def on_message_complete(self) -> None:
        """Note that the answer is whole; called by the parser, which knows only now if it ends."""
        self._whole = True
        self._keep = bool(self._parser.should_keep_alive())

    def _finish(self, taker: Taker) -> None:
        keep = self._keep
        self._taker = None
        self._request = b""
        self._begin()
        # A client that is still behind with this answer must not slow the next one.
        self.resume()
        if keep:
            self._pool.put(self)
        else:
            self._close()
        taker.on_end(keep_alive=keep)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits; a kept connection that was closed meanwhile is replaced once."""
        self.transport = None
        self._pool.remove(self)
        taker, self._taker = self._taker, None
        if taker is None:
            return
        if self._reused and self._in_head and not self._head:
            self._pool.send_new(self._request, taker)
            return
        taker.on_failure(f"it closed the connection: {exc or 'end of stream'}")

    def pause(self) -> None:
        """Read no more for now: the client is behind."""
        if self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.transport is not None and self._paused:
            self._paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Close at once: nobody wants the answer."""
        self._taker = None
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, reason: str) -> None:
        taker, self._taker = self._taker, None
        self._close()
        if taker is not None:
            taker.on_failure(reason)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Pool:
    """The connections to one replica."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._idle: list[Upstream] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, request: bytes, taker: Taker) -> None:
        """Send a request over a kept connection, or a new one."""
        while self._idle:
            upstream = self._idle.pop()
            if upstream.transport is not None and not upstream.transport.is_closing():
                if taker.attach(upstream):
                    upstream.send(request, taker, reused=True)
                else:
                    self._idle.append(upstream)
                return
        self.send_new(request, taker)

    def send_new(self, request: bytes, taker: Taker) -> None:
        """Send a request over a new connection."""
        task = asyncio.get_running_loop().create_task(self._open(request, taker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, request: bytes, taker: Taker) -> None:
        loop = asyncio.get_running_loop()
        where = self.endpoint
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, upstream = await loop.create_connection(
                    lambda: Upstream(self), where.host, where.port
                )
        except (OSError, TimeoutError) as error:
            taker.on_failure(f"it cannot be reached: {error or 'timed out'}")
            return
        if taker.attach(upstream):
            upstream.send(request, taker, reused=False)
        else:
            self.put(upstream)

    def put(self, upstream: Upstream) -> None:
        """Keep a connection for the next request."""
        if self._closed:
            upstream.abandon()
        else:
            self._idle.append(upstream)

    def remove(self, upstream: Upstream) -> None:
        """Forget a connection that ended."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def close(self) -> None:
        """Close what is idle; what is in use closes when its answer ends."""
        self._closed = True
        for upstream in self._idle:
            if upstream.transport is not None:
                upstream.transport.abort()
        self._idle.clear()
