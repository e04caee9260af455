"""The client by which huggingface_hub asks: as its own, and the seconds of silence are counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx

from llmatrix.stacks.hub.silence import Waiting, waiting


class Counting(httpx.Client):
    """Counts how long nothing comes, for the threads that have it counted (``silence``)."""

    def __init__(self) -> None:
        """Be as huggingface_hub's own; its session ids are for its developers."""
        super().__init__(follow_redirects=True, timeout=None)

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request, wait no longer than is allowed, and count it.

        Raises:
            Silent: nothing came for too long, over all tries.
            Stopped: the thread is to end.
        """
        counts = waiting()
        if counts is None:
            return super().send(request, **options)
        allowed_s, began = counts.allowed_s(), time.monotonic()
        request.extensions["timeout"] = httpx.Timeout(allowed_s).as_dict()
        try:
            response = super().send(request, **options)
        except httpx.TransportError as error:
            # A page that came slowly and then broke off was not silent all that time.
            seconds = min(time.monotonic() - began, allowed_s)
            connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            counts.fruitless(seconds, _host(error.request), connected=connected)
            raise
        if options.get("stream"):
            # Of what was asked for, nothing has come yet.
            counts.waited_s += time.monotonic() - began
            response.stream = _Heard(response, counts)
        else:
            counts.waited_s = 0.0
        return response


class _Heard(httpx.SyncByteStream):
    """What comes of an answer, counted."""

    def __init__(self, response: httpx.Response, counts: Waiting) -> None:
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - not awaited
        self._stream, self._counts = response.stream, counts
        self._host = _host(response.request)

    def __iter__(self) -> Iterator[bytes]:
        parts = iter(self._stream)
        while True:
            self._counts.allowed_s()
            began = time.monotonic()
            try:
                part = next(parts, None)
            except httpx.TransportError:
                self._counts.fruitless(time.monotonic() - began, self._host, connected=True)
                raise
            if part is None:
                return
            self._counts.heard(len(part))
            yield part

    def close(self) -> None:
        self._stream.close()


def _host(request: httpx.Request) -> str:
    return request.url.netloc.decode("ascii")
