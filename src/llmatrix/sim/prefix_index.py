"""What the router believes each replica has in its prefix cache, learnt from where it routed.

After the picker's ``plugins/multi/prefix``: the prompt's bytes are cut into blocks, each hashed
with the hash before it; each replica has a least-recently-used list of hashes of limited length.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from llmatrix.sim.endpoint import Endpoint


def block_hashes(prompt: bytes, salt: str, block_size: int, most: int) -> list[int]:
    """Hash the whole blocks of a prompt, at most ``most`` of them; what is left over is ignored.

    Args:
        prompt: its bytes.
        salt: model and cache salt; prompts with different salts share nothing.
        block_size: bytes.
        most: blocks.
    """
    blocks = min(len(prompt) // block_size, most)
    chain = hash(salt)
    hashes = []
    for start, end in pairwise(range(0, (blocks + 1) * block_size, block_size)):
        chain = hash((chain, prompt[start:end]))
        hashes.append(chain)
    return hashes


class PrefixIndex:
    """Which block hashes were routed to which replica."""

    def __init__(self) -> None:
        self._holders: dict[int, set[Endpoint]] = {}
        self._recent: dict[Endpoint, OrderedDict[int, None]] = {}
        self._capacity: dict[Endpoint, int] = {}

    def __len__(self) -> int:
        """Count entries, over all replicas."""
        return sum(map(len, self._recent.values()))

    def matches(self, hashes: Sequence[int]) -> dict[Endpoint, int]:
        """Count, for each replica, its blocks up to the first that no replica has."""
        counts: dict[Endpoint, int] = {}
        for digest in hashes:
            holders = self._holders.get(digest)
            if not holders:
                break
            for endpoint in holders:
                counts[endpoint] = counts.get(endpoint, 0) + 1
        return counts

    def learn(self, hashes: Sequence[int], endpoint: Endpoint, capacity: int) -> None:
        """Note that a prompt went to a replica; ``capacity`` counts on its first prompt only."""
        recent = self._recent.setdefault(endpoint, OrderedDict())
        capacity = self._capacity.setdefault(endpoint, capacity)
        for digest in hashes:
            if digest in recent:
                recent.move_to_end(digest)
                continue
            recent[digest] = None
            self._holders.setdefault(digest, set()).add(endpoint)
            if len(recent) > capacity:
                self._forget(recent.popitem(last=False)[0], endpoint)

    def drop(self, endpoint: Endpoint) -> None:
        """Forget all about a replica."""
        for digest in self._recent.pop(endpoint, ()):
            self._forget(digest, endpoint)
        self._capacity.pop(endpoint, None)

    def clear(self) -> None:
        """Forget everything."""
        self._holders.clear()
        self._recent.clear()
        self._capacity.clear()

    def _forget(self, digest: int, endpoint: Endpoint) -> None:
        holders = self._holders[digest]
        holders.discard(endpoint)
        if not holders:
            del self._holders[digest]
