"""Control trials: one treatment of each deployment at even intervals, to see whether it drifts.

Random order turns drift into noise; a treatment that comes back again and again tells how much of
it there was, also where nothing else is repeated. The control is a treatment of the block itself,
so that no deployment is made for its sake.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from llmatrix.plan.order import Block


def interleave(block: Block, *, front: int, every: int, first: int) -> Block:
    """Put control trials into a block: one before its first trial, others at even intervals.

    The last comes after its last trial.

    Args:
        block: in its drawn order, which stays.
        front: which of the block's fronts the control's treatment belongs to.
        every: trials between two control trials.
        first: number of the first control trial; the next ones count on.
    """
    trials = [(place, number) for place, part in enumerate(block.trials) for number in part]
    order = [(front, first)]
    for place in range(0, len(trials), every):
        order += trials[place : place + every]
        order.append((front, first + place // every + 1))
    parts = groupby(order, key=itemgetter(0))
    return Block(block.model, tuple(tuple(number for _, number in part) for _, part in parts))
