"""The order of trials: split-plot, randomised from the seed (design, section 6).

Deployments are the blocks. Within a repetition of all blocks, models come in random order, the
deployments of a model in random order within it, the fronts (gateway and router) of a deployment
within that, and the workloads with their replicates within those. So every comparison is between
trials in random order at its own level, and what is dear to change changes least often.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Block:
    """Trials that share their servers, in their order.

    Attributes:
        model: key of the model's files; blocks of one model follow one another.
        trials: for each front, the numbers of its trials.
    """

    model: str
    trials: tuple[tuple[int, ...], ...]

    def flat(self) -> Iterator[int]:
        """Give the block's trials in their order."""
        for front in self.trials:
            yield from front


class Placed(NamedTuple):
    """Where one trial belongs, before the order is drawn."""

    number: int
    repetition: int
    model: str
    block: str
    front: str


def split_plot(placed: Iterable[Placed], seed: int) -> list[Block]:
    """Draw the order of blocks, of fronts within blocks and of workloads within fronts.

    The same trials and seed give the same order on any machine.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    tree: dict[int, dict[str, dict[str, dict[str, list[int]]]]] = {}
    for each in placed:
        of_model = tree.setdefault(each.repetition, {}).setdefault(each.model, {})
        of_model.setdefault(each.block, {}).setdefault(each.front, []).append(each.number)
    blocks: list[Block] = []
    for _, models in sorted(tree.items()):
        for model in _shuffled(draw, models):
            for block in _shuffled(draw, models[model]):
                of_block = models[model][block]
                trials = [_shuffled(draw, of_block[front]) for front in _shuffled(draw, of_block)]
                blocks.append(Block(model, tuple(tuple(each) for each in trials)))
    return blocks


def _shuffled(draw: random.Random, items: Iterable[_T]) -> list[_T]:
    order = list(items)
    draw.shuffle(order)
    return order
