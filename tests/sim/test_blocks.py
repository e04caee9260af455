from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llmatrix.sim.blocks import BlockPool


def test_the_least_recently_released_block_is_evicted_first_and_tails_before_heads() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    assert first is not None
    assert second is not None
    for digest, block in enumerate([*first, *second]):
        pool.register(block, digest)
    pool.release(first)
    pool.release(second)

    pool.allocate(1)

    assert pool.match([1], 1) == []
    assert pool.match([0], 1) == first[:1]
    assert pool.match([2, 3], 2) == second


def test_a_shared_block_is_free_only_when_the_last_holder_lets_go() -> None:
    pool = BlockPool(3)
    held = pool.allocate(1)
    assert held is not None
    pool.register(held[0], 11)
    shared = pool.share(pool.match([11], 1), 1)
    assert shared is not None

    assert pool.references(held[0]) == 2
    pool.release(held)
    assert (pool.references(held[0]), pool.held) == (1, 2)
    pool.release(shared)
    assert (pool.held, pool.available) == (0, 3)


def test_too_few_blocks_take_nothing() -> None:
    pool = BlockPool(2)
    kept = pool.allocate(1)
    assert kept is not None
    pool.register(kept[0], 5)
    pool.release(kept)

    assert pool.allocate(3) is None
    assert pool.share(pool.match([5], 1), 2) is None
    assert (pool.available, pool.cached) == (2, 1)


def test_forgetting_spares_what_is_held_and_says_so() -> None:
    pool = BlockPool(2)
    free, held = pool.allocate(1), pool.allocate(1)
    assert free is not None
    assert held is not None
    pool.register(free[0], 1)
    pool.register(held[0], 2)
    pool.release(free)

    assert pool.forget() is False
    assert (pool.match([1], 1), pool.match([2], 1)) == ([], held)
    pool.release(held)
    assert pool.forget() is True
    assert pool.cached == 0


class Pool(RuleBasedStateMachine):
    """A pool against the simplest account of who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(8)
        self.holders: list[list[int]] = []

    @rule(data=st.data(), fresh=st.integers(0, 5))
    def share(self, data: Any, fresh: int) -> None:
        chain = data.draw(st.lists(st.integers(0, 5), max_size=4, unique=True))
        hits = self.pool.match(chain, len(chain))
        before = self.pool.available
        taken = self.pool.share(hits, fresh)
        if taken is None:
            assert self.pool.available == before
            return
        assert taken[: len(hits)] == hits
        self.holders.append(taken)
        for block, digest in zip(taken, chain, strict=False):
            self.pool.register(block, digest)

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        if self.holders:
            index = data.draw(st.integers(0, len(self.holders) - 1))
            self.pool.release(self.holders.pop(index))

    @rule()
    def forget(self) -> None:
        assert self.pool.forget() is not any(self.holders)

    @invariant()
    def every_block_is_accounted_for(self) -> None:
        held = {block for blocks in self.holders for block in blocks}
        assert self.pool.held == len(held)
        assert self.pool.held + self.pool.available == self.pool.total
        for block in held:
            assert self.pool.references(block) == sum(b.count(block) for b in self.holders)


Pool.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPool = Pool.TestCase
