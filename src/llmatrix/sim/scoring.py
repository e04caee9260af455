"""The picker's scorers: how well each replica suits a request, from 0 to 1.

Formulas are those of the Gateway API Inference Extension v1.2.0 and of llm-d's scheduler; which
are exact and which only near is told in ``plugins``.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmatrix.sim import context_range
from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.filtering import session_of, session_token
from llmatrix.sim.incoming import BYTES_PER_TOKEN, Blocks, Incoming
from llmatrix.sim.prefix_index import PrefixIndex, block_hashes
from llmatrix.sim.profiles import Used

Parameters = Mapping[str, Any]


class Scorer:
    """Scores replicas from 0 to 1; this one finds all alike and learns nothing."""

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        """Give each replica's score, in their order."""
        del incoming
        return [0.0] * len(endpoints)

    def routed(self, incoming: Incoming, chosen: Sequence[Endpoint]) -> None:
        """Learn where a request goes: who answers it, then who prefills it, if that is another."""

    def drop(self, endpoint: Endpoint) -> None:
        """Forget a replica that went away."""

    def reset(self) -> None:
        """Forget everything."""


class LeastOf(Scorer):
    """Between the pool's least load, 1, and its most, 0; 1 for all when they are equal."""

    def __init__(self, load: Callable[[Endpoint], float]) -> None:
        self._load = load

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        del incoming
        loads = [self._load(endpoint) for endpoint in endpoints]
        least, most = min(loads), max(loads)
        if least == most:
            return [1.0] * len(loads)
        return [(most - load) / (most - least) for load in loads]


class KvUsage(Scorer):
    """The share of the KV cache that is not in use."""

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        del incoming
        return [1 - endpoint.kv_usage for endpoint in endpoints]


class LoadAware(Scorer):
    """Half a point for an empty queue, falling to nothing at the threshold."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        del incoming
        most = self._threshold
        return [0.5 * (1 - min(endpoint.waiting, most) / most) for endpoint in endpoints]


class ActiveRequests(Scorer):
    """Requests in flight against those of the busiest replica; 1 for whoever counts as idle."""

    def __init__(self, idle: int, most_if_busy: float) -> None:
        self._idle = max(0, idle)
        self._most = most_if_busy if 0 <= most_if_busy <= 1 else 1.0

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        del incoming
        most = max(endpoint.active for endpoint in endpoints)
        return [
            1.0 if endpoint.active <= self._idle else (most - endpoint.active) / most * self._most
            for endpoint in endpoints
        ]


class SessionAffinity(Scorer):
    """The replica that an earlier answer named in its cookie or session header."""

    COOKIE: Final = "llm-d-session"

    def __init__(self, header: str) -> None:
        self._header = header.strip().lower().encode("latin-1", "replace")

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        named = self._named(incoming.headers)
        return [float(endpoint.address == named) for endpoint in endpoints]

    def _named(self, headers: Mapping[bytes, bytes]) -> str | None:
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.COOKIE:
                return session_token(value)
        return session_of(headers, self._header)

    def answer_headers(self, endpoint: Endpoint) -> bytes:
        """Name the replica in the answer."""
        token = base64.b64encode(endpoint.address.encode())
        cookie = b"set-cookie: %s=%s; Path=/; HttpOnly; SameSite=Lax\r\n"
        return cookie % (self.COOKIE.encode(), token) + b"%s: %s\r\n" % (self._header, token)


class ContextLength(Scorer):
    """How well the range of lengths in a replica's label suits the prompt."""

    def __init__(self, label: str) -> None:
        self._label = label

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        tokens = incoming.tokens
        return [context_range.score(e.labels.get(self._label), tokens) for e in endpoints]


class PrefixCache(Scorer):
    """The share of the prompt's blocks that went to the replica before.

    Attributes:
        observe: called for each routed request with matched blocks and blocks.
    """

    def __init__(self, name: str, parameters: Parameters) -> None:
        self.index = PrefixIndex()
        self.observe: Callable[[int, int], None] | None = None
        self._name = name
        self._tune = bool(parameters["autoTune"])
        self._block = int(parameters["blockSize"])
        self._most = int(parameters["maxPrefixBlocksToMatch"])
        self._capacity = int(parameters["lruCapacityPerServer"])

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        size = endpoints[0].block_size * BYTES_PER_TOKEN if self._tune else 0
        salt = f"{incoming.model}\0{incoming.salt}"
        size = size or self._block
        hashes = block_hashes(incoming.prompt, salt, size, self._most)
        matched = self.index.matches(hashes)
        incoming.blocks[self._name] = Blocks(hashes, size, matched)
        return [matched.get(endpoint, 0) / max(1, len(hashes)) for endpoint in endpoints]

    def routed(self, incoming: Incoming, chosen: Sequence[Endpoint]) -> None:
        blocks = incoming.blocks.get(self._name)
        if blocks is None or not blocks.hashes:
            return
        if self.observe is not None:
            self.observe(blocks.matched.get(chosen[0], 0), len(blocks.hashes))
        for endpoint in chosen:
            tuned = endpoint.blocks if self._tune else 0
            self.index.learn(blocks.hashes, endpoint, tuned or self._capacity)

    def drop(self, endpoint: Endpoint) -> None:
        self.index.drop(endpoint)

    def reset(self) -> None:
        self.index.clear()


class NoHitLru(Scorer):
    """Sends requests that nobody has cached to whoever was longest without such a one."""

    def __init__(self, prefix: str, size: int) -> None:
        self._prefix = prefix
        self._size = size
        self._recent: OrderedDict[Endpoint, None] = OrderedDict()

    def _cold(self, incoming: Incoming) -> bool:
        blocks = incoming.blocks.get(self._prefix)
        return blocks is None or not blocks.matched

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        if not self._cold(incoming):
            return [0.5] * len(endpoints)
        if len(endpoints) == 1:
            return [1.0]
        oldest_first = {endpoint: place for place, endpoint in enumerate(self._recent)}
        fresh = [endpoint for endpoint in endpoints if endpoint not in oldest_first]
        ranks = {endpoint: rank for rank, endpoint in enumerate(fresh)}
        for endpoint in endpoints:
            ranks.setdefault(endpoint, len(fresh) + oldest_first.get(endpoint, 0))
        most = len(endpoints) - 1
        return [max(0.0, 1 - ranks[endpoint] / most) for endpoint in endpoints]

    def routed(self, incoming: Incoming, chosen: Sequence[Endpoint]) -> None:
        if not self._cold(incoming):
            return
        for endpoint in chosen:
            self._recent[endpoint] = None
            self._recent.move_to_end(endpoint)
            if len(self._recent) > self._size:
                self._recent.popitem(last=False)

    def drop(self, endpoint: Endpoint) -> None:
        self._recent.pop(endpoint, None)

    def reset(self) -> None:
        self._recent.clear()


def _active(used: Used) -> Scorer:
    return ActiveRequests(used.parameters["idleThreshold"], used.parameters["maxBusyScore"])


def _no_hit(used: Used) -> Scorer:
    return NoHitLru(used.parameters["prefixPluginName"], used.parameters["lruSize"])


SCORERS: Final[Mapping[str, Callable[[Used], Scorer]]] = {
    "prefix-cache-scorer": lambda used: PrefixCache(used.name, used.parameters),
    "queue-scorer": lambda _: LeastOf(lambda endpoint: endpoint.waiting),
    "kv-cache-utilization-scorer": lambda _: KvUsage(),
    "running-requests-size-scorer": lambda _: LeastOf(lambda endpoint: endpoint.running),
    "lora-affinity-scorer": lambda _: Scorer(),
    "load-aware-scorer": lambda used: LoadAware(float(used.parameters["threshold"])),
    "active-request-scorer": _active,
    "session-affinity-scorer": lambda used: SessionAffinity(used.parameters["headerName"]),
    "no-hit-lru-scorer": _no_hit,
    "context-length-aware": lambda used: ContextLength(used.parameters["label"]),
}
"""What makes a scorer of a declared plugin, by its type."""
