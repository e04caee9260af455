"""Reads one replica's load from its ``/metrics``, twenty times a second, as the picker does."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, cast

import httptools

from llmatrix.sim.endpoint import Endpoint

_LOG: Final = logging.getLogger(__name__)
INTERVAL_S: Final = 0.05
"""The picker's ``--refresh-metrics-interval``."""
_TIMEOUT_S: Final = 5.0
_MAX_ANSWER: Final = 16 * 2**20


class _Scrape(asyncio.Protocol):
    """One kept connection; an answer at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        host = endpoint.address.encode()
        self._request = b"GET /metrics HTTP/1.1\r\nhost: %s\r\n\r\n" % host
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def fetch(self) -> bytes:
        assert self._transport is not None  # noqa: S101 - asked for only while open
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return await self._waiter

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(OSError(f"not HTTP: {error}"))
            self.close()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _MAX_ANSWER:
            self.close()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, self._body, self._size = b"".join(self._body), [], 0
        status, keep = self._parser.get_status_code(), self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if not keep:
            self.close()
        if self._waiter is not None and not self._waiter.done():
            if status == 200:  # noqa: PLR2004 - HTTP's OK
                self._waiter.set_result(body)
            else:
                self._waiter.set_exception(OSError(f"HTTP status {status}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(OSError(f"connection closed: {exc or 'end of stream'}"))

    def _end(self, error: OSError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


async def scrape_for_ever(endpoint: Endpoint) -> None:
    """Keep an endpoint's load up to date until cancelled; a replica that is away is asked again."""
    loop = asyncio.get_running_loop()
    connection: _Scrape | None = None
    away = False
    try:
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    if connection is None or not connection.open:
                        _, connection = await loop.create_connection(
                            lambda: _Scrape(endpoint), endpoint.host, endpoint.port
                        )
                    body = await connection.fetch()
                endpoint.read(body, time.monotonic())
                away = False
            except (OSError, TimeoutError) as error:
                if not away:
                    _LOG.warning("no metrics from %s: %s", endpoint.address, error or "timed out")
                away = True
                if connection is not None:
                    connection.close()
                    connection = None
            await asyncio.sleep(max(0.0, began + INTERVAL_S - time.monotonic()))
    finally:
        if connection is not None:
            connection.close()
