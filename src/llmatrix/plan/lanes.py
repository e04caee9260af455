"""Blocks to lanes: trials that run one after another on one site."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from llmatrix.plan.order import Block

Cost = Callable[[Block], float]
"""Seconds that a block takes, its own deployment included."""


def pack(blocks: Sequence[Block], lanes: int, cost: Cost) -> list[list[Block]]:
    """Share blocks out over ``lanes``, longest first, each to the lane that is free soonest.

    (Graham's LPT rule: at most 4/3 of the best makespan; SIAM J. Appl. Math. 17, 1969.) Where
    there are fewer blocks than lanes, the longest are split, at a front where one is, since idle
    lanes serve nobody; each part then has servers of its own. Within a lane the drawn order stays.
    """
    parts = _split(list(blocks), lanes, cost)
    costs = {id(block): cost(block) for block in parts}
    order = {id(block): position for position, block in enumerate(parts)}
    loads = [(0.0, lane) for lane in range(min(lanes, len(parts)))]
    packed: list[list[Block]] = [[] for _ in loads]
    for block in sorted(parts, key=lambda block: costs[id(block)], reverse=True):
        load, lane = heapq.heappop(loads)
        packed[lane].append(block)
        heapq.heappush(loads, (load + costs[id(block)], lane))
    for lane_blocks in packed:
        lane_blocks.sort(key=lambda block: order[id(block)])
    return packed


def _split(blocks: list[Block], lanes: int, cost: Cost) -> list[Block]:
    while blocks and len(blocks) < lanes:
        longest = max(range(len(blocks)), key=lambda i: (_size(blocks[i]) > 1, cost(blocks[i])))
        if _size(blocks[longest]) < 2:  # noqa: PLR2004 - one trial cannot be split
            break
        blocks[longest : longest + 1] = _halves(blocks[longest])
    return blocks


def _size(block: Block) -> int:
    return sum(len(front) for front in block.trials)


def _halves(block: Block) -> list[Block]:
    """Split a block into two of nearly equal numbers of trials, between fronts if it has several.

    A block of one front is split among its workloads.
    """
    if len(block.trials) == 1:
        (front,) = block.trials
        middle = len(front) // 2
        return [Block(block.model, (front[:middle],)), Block(block.model, (front[middle:],))]
    half, taken, cut = _size(block) / 2, 0, 0
    while cut < len(block.trials) - 1 and (cut == 0 or taken + len(block.trials[cut]) <= half):
        taken += len(block.trials[cut])
        cut += 1
    return [Block(block.model, block.trials[:cut]), Block(block.model, block.trials[cut:])]
