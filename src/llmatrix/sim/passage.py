"""One request on its way from a client to a replica, and its answer on its way back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from llmatrix.sim.http import Connection, Request
from llmatrix.sim.scheduling import Choice
from llmatrix.sim.upstream import Upstream

_LOG: Final = logging.getLogger(__name__)
SERVED_BY: Final = b"x-gateway-destination-endpoint-served"
"""The answer's header that names the replica, as the picker's conformance tests have it."""
PREFILLER: Final = b"x-prefiller-host-port"
"""The request's header that names the replica which prefills for the one that decodes."""
_OURS: Final = frozenset(
    {
        PREFILLER,
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"keep-alive",
        b"upgrade",
    }
)


def onward(request: Request, choice: Choice) -> bytes:
    """Write a request for a replica: the client's, but for what concerns one connection only.

    Nor can a client name the replica that prefills: the router says it, or nobody.
    """
    version = b"1.1" if request.chunked else b"1.0"
    lines = [
        b"%s %s HTTP/%s\r\nhost: %s\r\ncontent-length: %d\r\n"
        % (
            request.method.encode(),
            request.path.encode("latin-1"),
            version,
            choice.endpoint.address.encode(),
            len(request.body),
        )
    ]
    lines += [
        b"%s: %s\r\n" % (name, value)
        for name, value in request.headers.items()
        if name not in _OURS
    ]
    if choice.prefill is not None:
        lines.append(b"%s: %s\r\n" % (PREFILLER, choice.prefill.address.encode()))
    return b"".join([*lines, b"\r\n", request.body])


class Passage:
    """Ties a client's connection to a replica's for one request.

    Args:
        connection: the client's.
        choice: the replica that answers, and the one that prefills; their counts of requests are
            kept here.
        more_headers: lines that the answer gets, each ended.
        on_failure: called when the replica gave no whole answer.
    """

    def __init__(
        self,
        connection: Connection,
        choice: Choice,
        more_headers: bytes,
        on_failure: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._endpoint = choice.endpoint
        self._all = choice.all
        self._headers = b"%s: %s\r\n%s" % (
            SERVED_BY,
            choice.endpoint.address.encode(),
            more_headers,
        )
        self._failed = on_failure
        self._upstream: Upstream | None = None
        self._begun = False
        self._over = False
        for endpoint in self._all:
            endpoint.requests += 1
            endpoint.active += 1
        connection.on_lost = self._on_client_lost

    def attach(self, upstream: Upstream) -> bool:
        """Tie the client's leaving and its pace to the connection."""
        if self._over:
            return False
        self._upstream = upstream
        self._connection.on_pause = upstream.pause
        self._connection.on_resume = upstream.resume
        return True

    def on_head(self, head: bytes, rest: bytes) -> None:
        """Send the head on, with the replica's name in it."""
        self._begun = True
        self._connection.transport.write(b"%s%s\r\n%s" % (head, self._headers, rest))

    def on_data(self, data: bytes) -> None:
        """Send a piece of the body on."""
        self._connection.transport.write(data)

    def on_end(self, *, keep_alive: bool) -> None:
        """Finish."""
        if self._end():
            request = self._connection.current
            wanted = request is not None and request.keep_alive
            self._connection.done(keep_alive=keep_alive and wanted)

    def on_failure(self, reason: str) -> None:
        """Answer 502, or cut off what was begun."""
        if not self._end():
            return
        self._endpoint.errors += 1
        _LOG.warning("replica %s: %s", self._endpoint.address, reason)
        self._failed()
        if self._begun:
            self._connection.on_lost = None
            self._connection.transport.abort()
        else:
            message = f"replica {self._endpoint.address} did not answer: {reason}"
            self._connection.fail(502, message)

    def _on_client_lost(self) -> None:
        """Close the way to the replica, so that it stops computing."""
        if self._end() and self._upstream is not None:
            self._upstream.abandon()

    def _end(self) -> bool:
        if self._over:
            return False
        self._over = True
        for endpoint in self._all:
            endpoint.active -= 1
        return True
