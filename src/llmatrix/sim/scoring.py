"""The picker's scorers and pickers: how one replica is chosen for one request.

Formulas are those of the Gateway API Inference Extension v1.2.0 and of llm-d's scheduler; which
are exact and which only near is told in ``plugins``.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.picker_config import PickerConfig, Used
from llmatrix.sim.prefix_index import PrefixIndex, block_hashes

CHARACTERS_PER_TOKEN: Final = 4
"""What the picker assumes when it turns a server's block size into characters."""
Parameters = Mapping[str, int | bool | float]


@dataclass(slots=True)
class Incoming:
    """A request, as far as a choice depends on it.

    Attributes:
        prompt: bytes of its prompt or messages.
        headers: names in lower case.
        hashes: of its blocks, by the prefix scorer's name, once that has scored.
    """

    model: str = ""
    prompt: bytes = b""
    salt: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    hashes: dict[str, list[int]] = field(default_factory=dict)


class Scorer:
    """Scores replicas from 0 to 1; this one finds all alike and learns nothing."""

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        """Give each replica's score, in their order."""
        del incoming
        return [0.0] * len(endpoints)

    def routed(self, incoming: Incoming, endpoint: Endpoint) -> None:
        """Learn where a request was sent."""

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
    """Requests in flight against those of the busiest replica."""

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        del incoming
        most = max(endpoint.active for endpoint in endpoints)
        return [(most - endpoint.active) / most if most else 1.0 for endpoint in endpoints]


class SessionAffinity(Scorer):
    """The replica that an earlier answer named in its cookie or session header."""

    COOKIE: Final = "llm-d-session"
    HEADER: Final = b"x-session-token"

    def score(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> list[float]:
        named = self._named(incoming.headers)
        return [float(endpoint.address == named) for endpoint in endpoints]

    def _named(self, headers: Mapping[bytes, bytes]) -> str | None:
        token = headers.get(self.HEADER, b"").decode("latin-1")
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.COOKIE:
                token = value
        try:
            return base64.b64decode(token, validate=True).decode() if token else None
        except (binascii.Error, UnicodeDecodeError):
            return None

    def answer_headers(self, endpoint: Endpoint) -> bytes:
        """Name the replica in the answer."""
        token = base64.b64encode(endpoint.address.encode())
        cookie = b"set-cookie: %s=%s; Path=/; HttpOnly; SameSite=Lax\r\n"
        return cookie % (self.COOKIE.encode(), token) + b"%s: %s\r\n" % (self.HEADER, token)


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
        size = endpoints[0].block_size * CHARACTERS_PER_TOKEN if self._tune else 0
        salt = f"{incoming.model}\0{incoming.salt}"
        hashes = block_hashes(incoming.prompt, salt, size or self._block, self._most)
        incoming.hashes[self._name] = hashes
        if not hashes:
            return [0.0] * len(endpoints)
        counts = self.index.matches(hashes)
        return [counts.get(endpoint, 0) / len(hashes) for endpoint in endpoints]

    def routed(self, incoming: Incoming, endpoint: Endpoint) -> None:
        hashes = incoming.hashes.get(self._name)
        if not hashes:
            return
        if self.observe is not None:
            self.observe(self.index.matches(hashes).get(endpoint, 0), len(hashes))
        tuned = endpoint.blocks if self._tune else 0
        self.index.learn(hashes, endpoint, tuned or self._capacity)

    def drop(self, endpoint: Endpoint) -> None:
        self.index.drop(endpoint)

    def reset(self) -> None:
        self.index.clear()


_SCORERS: Final[Mapping[str, Callable[[Used], Scorer]]] = {
    "prefix-cache-scorer": lambda used: PrefixCache(used.name, used.parameters),
    "queue-scorer": lambda _: LeastOf(lambda endpoint: endpoint.waiting),
    "kv-cache-utilization-scorer": lambda _: KvUsage(),
    "running-requests-size-scorer": lambda _: LeastOf(lambda endpoint: endpoint.running),
    "lora-affinity-scorer": lambda _: Scorer(),
    "load-aware-scorer": lambda used: LoadAware(float(used.parameters["threshold"])),
    "active-request-scorer": lambda _: ActiveRequests(),
    "session-affinity-scorer": lambda _: SessionAffinity(),
}


def pick_best(scores: Sequence[float], rng: random.Random) -> int:
    """Choose the highest score; equals at random."""
    best = max(scores)
    return rng.choice([index for index, score in enumerate(scores) if score == best])


def pick_any(scores: Sequence[float], rng: random.Random) -> int:
    """Choose at random, whatever the scores."""
    return rng.randrange(len(scores))


def pick_weighted(scores: Sequence[float], rng: random.Random) -> int:
    """Choose at random in proportion to scores; alike when none is above 0.

    The picker draws by the A-Res algorithm of Efraimidis and Spirakis; of its first draw, the only
    one that counts here, the odds are the scores.
    """
    if max(scores) <= 0:
        return pick_any(scores, rng)
    keys = [rng.random() ** (1 / score) if score > 0 else 0.0 for score in scores]
    return keys.index(max(keys))


_PICKERS: Final[Mapping[str, Callable[[Sequence[float], random.Random], int]]] = {
    "max-score-picker": pick_best,
    "random-picker": pick_any,
    "weighted-random-picker": pick_weighted,
}


class Profile:
    """One scheduling profile: weighted scorers and a picker.

    Attributes:
        scorers: each with its weight.
    """

    def __init__(self, config: PickerConfig, rng: random.Random) -> None:
        self.scorers = [(used.weight, _SCORERS[used.type](used)) for used in config.scorers]
        self._pick = _PICKERS[config.picker.type]
        self._rng = rng

    def choose(self, incoming: Incoming, endpoints: Sequence[Endpoint]) -> Endpoint:
        """Choose one of the endpoints, of which there must be one, and learn from the choice.

        Scores are held between 0 and 1, then weighted and added.
        """
        totals = [0.0] * len(endpoints)
        for weight, scorer in self.scorers:
            for index, score in enumerate(scorer.score(incoming, endpoints)):
                totals[index] += weight * min(1.0, max(0.0, score))
        chosen = endpoints[self._pick(totals, self._rng)]
        for _, scorer in self.scorers:
            scorer.routed(incoming, chosen)
        return chosen

    def drop(self, endpoint: Endpoint) -> None:
        """Forget a replica that went away."""
        for _, scorer in self.scorers:
            scorer.drop(endpoint)

    def reset(self) -> None:
        """Forget everything that was learnt."""
        for _, scorer in self.scorers:
            scorer.reset()

    def answer_headers(self, endpoint: Endpoint) -> bytes:
        """Give the headers that an answer from this replica carries, each line ended."""
        for _, scorer in self.scorers:
            if isinstance(scorer, SessionAffinity):
                return scorer.answer_headers(endpoint)
        return b""
