"""Requests as the bytes that go over the wire, made before they are needed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from llmatrix.harness.native.forms import Envelope, Prompt, Source
from llmatrix.harness.native.orders import Orders

STOCK_BYTES: Final = 512 * 1024 * 1024
_WHOLE_BYTES: Final = 64 * 1024 * 1024
_JOINED_BYTES: Final = 16 * 1024
"""Below this, copying the pieces costs less than handing them to the kernel one by one."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go, taken from the base URL."""

    host: str
    port: int
    tls: bool
    authority: str
    path: str


def address(base_url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: it is no http or https URL with a host.
    """
    url = urlsplit(base_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError(f"'{base_url}' is not an http or https URL")
    tls = url.scheme == "https"
    path = url.path.rstrip("/") + (f"?{url.query}" if url.query else "")
    authority = url.netloc.rpartition("@")[2]
    return Address(url.hostname, url.port or (443 if tls else 80), tls, authority, path)


class Body(NamedTuple):
    """The bytes of one request, in pieces, and what it asks."""

    parts: list[bytes]
    prompt: Prompt


class Bodies:
    """The bytes of each request by its number: head, shared prefix, question and tail.

    ``stock`` writes them ahead, so that sending is nothing but writing bytes; what is not in
    stock is written on demand, with the same result.
    """

    def __init__(self, orders: Orders, source: Source, api_key: str | None) -> None:
        self.source = source
        self._envelope = Envelope(orders)
        where = address(orders.base_url)
        endpoint = "/v1/chat/completions" if orders.api == "chat" else "/v1/completions"
        path, _, query = where.path.partition("?")
        head = [
            f"POST {path}{endpoint}{'?' + query if query else ''} HTTP/1.1",
            f"Host: {where.authority}",
            "User-Agent: llmatrix",
            f"Accept: {'text/event-stream' if orders.stream else 'application/json'}",
            "Accept-Encoding: identity",
            "Content-Type: application/json",
            *([f"Authorization: Bearer {api_key}"] if api_key else []),
            "Content-Length: ",
        ]
        self._head = "\r\n".join(head).encode("latin-1")
        self._whole: dict[int, Body] = {}

    def stock(self, numbers: Iterable[int], seconds: float) -> int:
        """Make requests ahead, as many as ``seconds`` and 512 MiB allow; tell how many."""
        deadline, size, made = time.monotonic() + seconds, 0, 0
        for number in numbers:
            if size > STOCK_BYTES or time.monotonic() > deadline:
                break
            size += self.source.stock(number)
            made += 1
        return made

    def stock_whole(self, numbers: Iterable[int], seconds: float) -> int:
        """Make requests ahead to their last byte; tell how many.

        As many as ``seconds`` and 64 MiB allow, because a shared prefix is in each of them. Prompts
        must not depend on which were made before.
        """
        deadline, size = time.monotonic() + seconds, 0
        for number in numbers:
            if size > _WHOLE_BYTES or time.monotonic() > deadline:
                break
            made = self._whole[number] = self.body(number)
            size += sum(map(len, made.parts))
        return len(self._whole)

    def body(self, number: int) -> Body:
        """Give a request's bytes in pieces, in order, and what it asks."""
        return self._whole.pop(number, None) or self._made(number)

    def _made(self, number: int) -> Body:
        prompt = self.source.prompt(number)
        before, after = self._envelope.before, self._envelope.after(prompt.output_tokens)
        length = len(before) + sum(map(len, prompt.pieces)) + len(after)
        head = b"%b%d\r\n\r\n%b" % (self._head, length, before)
        parts = [head, *prompt.pieces, after]
        return Body([b"".join(parts)] if length < _JOINED_BYTES else parts, prompt)
