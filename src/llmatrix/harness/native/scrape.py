"""Server metrics, fetched every second beside the load; the text is read after the window.

Each scrape has a connection of its own and closes it: a connection kept would hold a thread of
servers that give every connection one.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httptools

from llmatrix.harness.native.bodies import address

EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 8 * 1024 * 1024
_OK: Final = 200
_HEAD: Final = struct.Struct("<qHI")


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of a metrics endpoint: when it came (monotonic ns), from where, its text."""

    at: int
    server: str
    text: bytes


class _Answer:
    """Collects the body of one HTTP answer."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Scraper:
    """Fetches each endpoint every second until it is stopped, and puts the answers into a file.

    Failures are kept by endpoint, not raised.
    """

    def __init__(self, urls: tuple[str, ...], tls: ssl.SSLContext | None, path: Path) -> None:
        self._file = path.open("wb") if urls else None
        self.failures: dict[str, str] = {}
        self._urls = urls
        self._tls = tls
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; the endpoints take turns within the second."""
        self._tasks = [
            asyncio.get_running_loop().create_task(
                self._follow(url, EVERY_S * place / len(self._urls))
            )
            for place, url in enumerate(self._urls)
        ]

    async def stop(self) -> None:
        """End all fetching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._file is not None:
            self._file.close()

    async def _follow(self, url: str, after: float) -> None:
        await asyncio.sleep(after)
        server = address(url).authority
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    text = await self._fetch(url)
                self._keep(server.encode(), text)
            except (OSError, ValueError, TimeoutError, httptools.HttpParserError) as error:
                self.failures[url] = str(error) or "no answer in time"
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))

    def _keep(self, server: bytes, text: bytes) -> None:
        if self._file is not None:
            head = _HEAD.pack(time.monotonic_ns(), len(server), len(text))
            self._file.write(b"".join([head, server, text]))

    async def _fetch(self, url: str) -> bytes:
        where = address(url)
        reader, writer = await asyncio.open_connection(
            where.host, where.port, ssl=self._tls if where.tls else None
        )
        try:
            request = f"GET {where.path or '/'} HTTP/1.1\r\nHost: {where.authority}\r\n"
            writer.write(f"{request}Accept: text/plain\r\nConnection: close\r\n\r\n".encode())
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.complete and (read := await reader.read(1 << 18)):
                parser.feed_data(read)
                if len(answer.body) > _MOST_BYTES:
                    raise ValueError(f"the answer is larger than {_MOST_BYTES} bytes")
            status = parser.get_status_code()
            if status != _OK:
                raise ValueError(f"HTTP {status}")
            return bytes(answer.body)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def scraped(path: Path) -> Iterator[Scrape]:
    """Give what was put into a file, in order; nothing if there is none."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            at, server, text = _HEAD.unpack(head)
            yield Scrape(at, file.read(server).decode(), file.read(text))
