"""The picker's pickers: which of the scored replicas gets the request."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final


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


PICKERS: Final[Mapping[str, Callable[[Sequence[float], random.Random], int]]] = {
    "max-score-picker": pick_best,
    "random-picker": pick_any,
    "weighted-random-picker": pick_weighted,
}
"""What picks, by the plugin's type: gives the place of the chosen score."""
