"""Prefill by another replica: how one that decodes has its prompts' KV entries made and brought.

As with llm-d's routing sidecar and vLLM's NIXL connector: the replica that decodes gets the
request with the other's address in a header, sends it there for one token, and then fetches the
KV entries that it does not have itself. The fetch takes their bytes divided by a bandwidth; links
are taken never to be shared, and the other replica's blocks are free as soon as it has answered.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.http import Request, error_body
from llmatrix.sim.upstream import Pool, Upstream

Refused = Callable[[int, bytes], None]


class Prefill:
    """One prompt that another replica prefills.

    Attributes:
        wanted: false once the client has left.
    """

    def __init__(self, address: str, done: Callable[[], None], refused: Refused) -> None:
        self.wanted = True
        self._address = address
        self._done = done
        self._refused = refused
        self._upstream: Upstream | None = None
        self._status = 0
        self._body = b""

    def abandon(self) -> None:
        """Forget it: the client has left."""
        self.wanted = False
        if self._upstream is not None:
            self._upstream.abandon()

    # what an upstream tells

    def attach(self, upstream: Upstream) -> bool:
        """Learn over which connection it comes."""
        self._upstream = upstream
        return self.wanted

    def on_head(self, head: bytes, rest: bytes) -> None:
        """Take the status."""
        self._status = int(head.split(b" ", 2)[1])
        self._body = rest

    def on_data(self, data: bytes) -> None:
        """Take more of the body, which is short."""
        self._body += data

    def on_end(self, *, keep_alive: bool) -> None:
        """Go on with the decode, or pass the other's refusal on, as the sidecar does."""
        del keep_alive
        self._upstream = None
        if not self.wanted:
            return
        if self._status == 200:  # noqa: PLR2004 - HTTP's OK
            self._done()
        else:
            self._refused(self._status, self._body)

    def on_failure(self, reason: str) -> None:
        """Tell the client that its prompt cannot be prefilled."""
        self._upstream = None
        if self.wanted:
            message = f"replica {self._address} did not prefill: {reason}"
            self._refused(502, error_body(502, message))


class Prefills:
    """The other replicas, as one that decodes knows them."""

    def __init__(self, kv_bytes_per_token: int, bandwidth: float) -> None:
        self._seconds_per_token = kv_bytes_per_token / bandwidth
        self._pools: dict[str, Pool] = {}

    def transfer_s(self, tokens: int) -> float:
        """Give the seconds that it takes to fetch so many tokens' KV entries."""
        return max(0, tokens) * self._seconds_per_token

    def begin(
        self, address: str, request: Request, done: Callable[[], None], refused: Refused
    ) -> Prefill:
        """Ask a replica to prefill a request that has been checked.

        Args:
            address: host and port.
            request: the client's.
            done: called when the KV entries are there, to be fetched.
            refused: called with status and body if they will not be.

        Raises:
            ValueError: no such address.
        """
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(Endpoint.at(f"http://{address}"))
        prefill = Prefill(address, done, refused)
        pool.send(_request(address, request), prefill)
        return prefill

    def close(self) -> None:
        """Close what is idle."""
        for pool in self._pools.values():
            pool.close()


def _request(address: str, request: Request) -> bytes:
    """Write the client's request as one for a single token, not streamed."""
    document = orjson.loads(request.body)
    # A least number of tokens is of the whole answer, which the client's own replica gives.
    for field in ("stream_options", "min_tokens"):
        document.pop(field, None)
    document |= {"stream": False, "max_tokens": 1}
    if "max_completion_tokens" in document:
        document["max_completion_tokens"] = 1
    document["kv_transfer_params"] = {"do_remote_decode": True, "do_remote_prefill": False}
    body = orjson.dumps(document)
    head = b"POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\n"
    head %= (request.path.encode("latin-1"), address.encode("latin-1"))
    return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)
