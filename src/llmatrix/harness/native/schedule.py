"""When requests are due: pure functions of the load and the seed, computed beforehand.

The zero of every offset is the moment for which the first request is scheduled.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Final, Literal, TypeVar

from llmatrix.pace import Pace

Phase = Literal["warmup", "window", "drain"]
PHASES: Final[tuple[Phase, ...]] = ("warmup", "window", "drain")

T = TypeVar("T")


def share(everything: Iterator[T], shard: int, shards: int) -> Iterator[tuple[int, T]]:
    """Give what falls to one of several shards, each with its number in the whole.

    Every shard runs through the whole schedule and takes its own part, so the whole is the same
    for any number of shards.
    """
    return islice(enumerate(everything), shard, None, shards)


def stream(seed: int, *name: object) -> random.Random:
    """Make the generator of one named stream of random numbers; other names, other streams."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - traffic, not secrets


def arrivals(pace: Pace, cv: float, seed: int) -> Iterator[float]:
    """Give the offsets, in seconds, at which an open loop's requests are due, without end.

    The gaps are independent, of mean 1 and coefficient of variation ``cv`` on the clock of the
    pace: all equal for 0, with no sum of rounding errors; exponential for 1 (Poisson arrivals, by
    inverse transform); gamma of shape ``1/cv**2`` for any other. They are made from nothing but
    ``random.Random.random``, which Python keeps the same for a seed in all its versions.
    """
    if cv == 0.0:
        yield from (pace.due(number) for number in count())
        return
    uniform = stream(seed, "arrivals").random
    passed = 0.0
    while True:
        yield pace.due(passed)
        passed += -math.log(1.0 - uniform()) if cv == 1.0 else gamma(1.0 / cv**2, uniform) * cv**2


def gamma(shape: float, uniform: Callable[[], float]) -> float:
    """Draw from the gamma distribution of scale 1.

    Marsaglia and Tsang, "A simple method for generating gamma variables", ACM Transactions on
    Mathematical Software 26(3), 2000; a shape below 1 is taken from the one above by their note
    at the end of section 6. Normal variables are from Box and Muller's transform.
    """
    if shape < 1.0:
        return gamma(shape + 1.0, uniform) * math.pow(1.0 - uniform(), 1.0 / shape)
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform()))
        normal = radius * math.cos(2.0 * math.pi * uniform())
        v = (1.0 + c * normal) ** 3
        if v > 0.0 and math.log(1.0 - uniform()) < normal**2 / 2.0 + d * (1.0 - v + math.log(v)):
            return d * v


def think(seed: int, session: int, turn: int, mean: float, cv: float) -> float:
    """Give the seconds that pass between the end of a turn of a session and the next.

    They are gamma distributed with the coefficient of variation ``cv``: equal for 0, exponential
    for 1.
    """
    if cv == 0.0 or mean == 0.0:
        return mean
    uniform = stream(seed, "think", session, turn).random
    return mean * gamma(1.0 / cv**2, uniform) * cv**2


def ramp(concurrency: int, warmup: float) -> list[float]:
    """Give the offset, in seconds, at which each slot of a closed loop sends its first request.

    The slots begin evenly over the first half of the warm-up, so that they do not march in step
    and the window begins with all of them busy. Without a warm-up all begin at once.
    """
    return [slot * warmup / 2 / concurrency for slot in range(concurrency)]


def phase_at(offset: float, window: tuple[float, float]) -> Phase:
    """Tell the phase of a request that is scheduled at ``offset``."""
    if offset < window[0]:
        return "warmup"
    return "window" if offset < window[1] else "drain"


def group_order(groups: int, seed: int, block: int) -> list[int]:
    """Give the order of the groups within one block of ``groups`` successive requests."""
    order = list(range(groups))
    stream(seed, "groups", block).shuffle(order)
    return order
