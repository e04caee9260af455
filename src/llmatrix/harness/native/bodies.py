"""Requests as the bytes that go over the wire, made before they are needed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from llmatrix.harness.native.orders import Orders
from llmatrix.harness.native.prompts import Prompts

STOCK_BYTES: Final = 512 * 1024 * 1024
_MARK: Final = "PROMPT"


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


class Bodies:
    """The bytes of each request by its number: head, shared prefix, question and tail.

    ``stock`` writes them ahead, so that sending is nothing but writing bytes; what is not in
    stock is written on demand, with the same result.
    """

    def __init__(self, orders: Orders, prompts: Prompts, api_key: str | None) -> None:
        self._prompts = prompts
        self._before, self._after = _document(orders)
        where = address(orders.base_url)
        endpoint = "/v1/chat/completions" if orders.api == "chat" else "/v1/completions"
        path, _, query = where.path.partition("?")
        head = [
            f"POST {path}{endpoint}{'?' + query if query else ''} HTTP/1.1",
            f"Host: {where.authority}",
            "User-Agent: llmatrix",
            "Accept: text/event-stream",
            "Accept-Encoding: identity",
            "Content-Type: application/json",
            *([f"Authorization: Bearer {api_key}"] if api_key else []),
            "Content-Length: ",
        ]
        self._head = "\r\n".join(head).encode("latin-1")
        self._stock: dict[int, bytes] = {}

    def stock(self, requests: int, seconds: float) -> int:
        """Write questions ahead, as many as ``seconds`` and 512 MiB allow; tell how many."""
        deadline, size = time.monotonic() + seconds, 0
        for number in range(requests):
            if size > STOCK_BYTES or time.monotonic() > deadline:
                return number
            question = self._stock[number] = self._prompts.question(number)
            size += len(question)
        return requests

    def parts(self, number: int) -> tuple[int | None, list[bytes]]:
        """Give a request's group, and its bytes in pieces, in order."""
        question = self._stock.pop(number, None) or self._prompts.question(number)
        group = self._prompts.group(number)
        prefix = self._prompts.prefix(group)
        length = len(self._before) + len(prefix) + len(question) + len(self._after)
        head = b"%b%d\r\n\r\n%b" % (self._head, length, self._before)
        return group, [head, prefix, question, self._after] if prefix else [
            head,
            question,
            self._after,
        ]


def _document(orders: Orders) -> tuple[bytes, bytes]:
    """Write the JSON of a request, split where the prompt's tokens go."""
    prompt: Any = [_MARK] if orders.prompt == "token-ids" else _MARK
    asked = {"messages": [{"role": "user", "content": prompt}]}
    document = {
        "model": orders.model,
        "max_tokens": orders.output_len,
        "min_tokens": orders.output_len,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **(asked if orders.api == "chat" else {"prompt": prompt}),
    }
    mark = f'"{_MARK}"' if orders.prompt == "token-ids" else _MARK
    before, _, after = json.dumps(document, separators=(",", ":")).rpartition(mark)
    return before.encode(), after.encode()
