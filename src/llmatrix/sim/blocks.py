"""The paged KV cache of one replica: blocks, prefix caching, eviction.

As in vLLM: memory is cut into blocks of a fixed number of tokens; a full block is known by a hash
of its tokens and of everything before it; a block that no sequence holds stays usable for later
prefixes until its memory is needed, the least recently released first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """The blocks of one KV cache.

    Every block is in exactly one state: never used, held (by one sequence or more), or free
    (perhaps still cached under its hash).
    """

    def __init__(self, blocks: int) -> None:
        self.total = blocks
        self._unused = blocks
        self._held: dict[int, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict()
        self._cached: dict[int, int] = {}
        self._hash_of: dict[int, int] = {}

    @property
    def available(self) -> int:
        """Blocks that can be handed out."""
        return self._unused + len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return len(self._held) / self.total

    @property
    def held(self) -> int:
        """Blocks that sequences hold."""
        return len(self._held)

    @property
    def cached(self) -> int:
        """Blocks that a later prefix could hit."""
        return len(self._cached)

    def references(self, block: int) -> int:
        """Count the sequences that hold a block."""
        return self._held.get(block, 0)

    def match(self, hashes: Sequence[int], most: int) -> list[int]:
        """Find the blocks of the longest cached prefix, at most ``most``; takes none of them."""
        found = []
        cached = self._cached
        for index in range(min(most, len(hashes))):
            block = cached.get(hashes[index])
            if block is None:
                break
            found.append(block)
        return found

    def share(self, hits: Sequence[int], fresh: int) -> list[int] | None:
        """Take cached blocks together with ``fresh`` new ones; None when there are too few."""
        idle = sum(1 for block in hits if block not in self._held)
        if fresh + idle > self.available:
            return None
        for block in hits:
            count = self._held.get(block, 0)
            if count == 0:
                del self._free[block]
            self._held[block] = count + 1
        return [*hits, *(self._take() for _ in range(fresh))]

    def allocate(self, blocks: int) -> list[int] | None:
        """Take new blocks; None, and nothing taken, when there are too few."""
        if blocks > self.available:
            return None
        return [self._take() for _ in range(blocks)]

    def _take(self) -> int:
        if self._unused:
            self._unused -= 1
            block = self._unused
        else:
            block, _ = self._free.popitem(last=False)
            digest = self._hash_of.pop(block, None)
            if digest is not None:
                del self._cached[digest]
        self._held[block] = 1
        return block

    def register(self, block: int, digest: int) -> None:
        """Make a full block findable; the first block with a hash stays the one that is found."""
        if digest not in self._cached:
            self._cached[digest] = block
            self._hash_of[block] = digest

    def release(self, blocks: Iterable[int]) -> None:
        """Give a sequence's blocks back; its tail will be evicted before its head."""
        for block in reversed(tuple(blocks)):
            count = self._held[block] - 1
            if count:
                self._held[block] = count
            else:
                del self._held[block]
                self._free[block] = None

    def forget(self) -> bool:
        """Drop what is cached in free blocks; tell whether nothing cached is left."""
        for block in self._free:
            digest = self._hash_of.pop(block, None)
            if digest is not None:
                del self._cached[digest]
        return not self._held
