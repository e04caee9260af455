"""Packing blocks into lanes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmatrix.plan.lanes import pack
from llmatrix.plan.order import Block


def cost(block: Block) -> float:
    return 1.0 + sum(len(front) for front in block.trials)


def numbered(shape: list[list[int]]) -> list[Block]:
    """Make blocks of fronts of the given sizes, with trials numbered from 0."""
    numbers = iter(range(10_000))
    return [
        Block("m", tuple(tuple(next(numbers) for _ in range(size)) for size in fronts))
        for fronts in shape
    ]


shapes = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=12)


@given(shapes, st.integers(1, 6))
def test_every_trial_is_on_one_lane(shape: list[list[int]], lanes: int) -> None:
    blocks = numbered(shape)
    packed = pack(blocks, lanes, cost)
    assert 1 <= len(packed) <= lanes
    placed = sorted(n for lane in packed for block in lane for n in block.flat())
    assert placed == sorted(n for block in blocks for n in block.flat())


@given(shapes, st.integers(1, 6))
def test_enough_blocks_stay_whole_and_are_balanced(shape: list[list[int]], lanes: int) -> None:
    blocks = numbered(shape)
    if len(blocks) < lanes:
        return
    packed = pack(blocks, lanes, cost)
    assert sorted((b for lane in packed for b in lane), key=blocks.index) == blocks
    loads = [sum(map(cost, lane)) for lane in packed]
    best = max(*map(cost, blocks), sum(map(cost, blocks)) / lanes)
    assert max(loads) <= (2 - 1 / lanes) * best  # Graham's bound for any list order


def test_one_block_is_split_between_fronts_first() -> None:
    (block,) = numbered([[2, 2]])
    packed = pack([block], 2, cost)
    assert sorted(len(b.trials) for lane in packed for b in lane) == [1, 1]


def test_one_front_is_split_between_workloads() -> None:
    packed = pack(numbered([[8]]), 4, cost)
    assert [sum(len(f) for b in lane for f in b.trials) for lane in packed] == [2, 2, 2, 2]


def test_there_are_never_more_lanes_than_trials() -> None:
    assert len(pack(numbered([[1], [1]]), 6, cost)) == 2


def test_a_lane_keeps_the_drawn_order() -> None:
    blocks = numbered([[1], [5], [2], [4]])
    (lane,) = pack(blocks, 1, cost)
    assert lane == blocks
