"""A small blocking HTTP client for control requests: probes, model lists, cache resets.

Proxies of the environment are not used: what is asked for is on this machine or named by the user.
"""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_MOST_BYTES: Final = 8 * 1024 * 1024


class Unreachable(Exception):
    """Nobody answered, or what came was no HTTP; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: status code and whole body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Give the body as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def ask(
    method: str,
    url: str,
    *,
    timeout_s: float = 5.0,
    api_key: str | None = None,
    document: Any = None,
) -> Answer:
    """Send one request and read the whole answer, within about ``timeout_s`` seconds.

    Redirects are not followed, so that a key never travels to another place.

    Raises:
        Unreachable: no whole answer came.
    """
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    headers = {"Accept": "application/json, */*"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    if document is not None:
        headers["Content-Type"] = "application/json"
    body = None if document is None else json.dumps(document).encode()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kinds[parts.scheme](parts.hostname or "", parts.port, timeout=timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, _read(response, time.monotonic() + timeout_s))
        finally:
            connection.close()
    except TimeoutError:
        raise Unreachable(f"{url} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise Unreachable(f"{url} cannot be reached: {error.strerror or error}") from None
    except (http.client.HTTPException, ValueError, KeyError) as error:
        raise Unreachable(f"{url} does not answer as HTTP: {error!r}") from None


def answers(url: str, *, timeout_s: float = 2.0) -> bool:
    """Tell whether a GET of ``url`` is answered with 200."""
    try:
        return ask("GET", url, timeout_s=timeout_s).status == http.client.OK
    except Unreachable:
        return False


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read a body piece by piece, so that one that only trickles does not hold us for ever."""
    pieces: list[bytes] = []
    total = 0
    while piece := response.read1(65536):
        pieces.append(piece)
        total += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError
        if total > _MOST_BYTES:
            raise ValueError("the answer is larger than 8 MiB")
    return b"".join(pieces)
