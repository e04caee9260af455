"""When requests are due: pure functions of the load and the seed, computed beforehand.

The zero of every offset is the moment for which the first request is scheduled.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from itertools import count
from typing import Literal

Phase = Literal["warmup", "window", "drain"]


def stream(seed: int, *name: object) -> random.Random:
    """Make the generator of one named stream of random numbers; other names, other streams."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - traffic, not secrets


def arrivals(rate: float, process: Literal["poisson", "constant"], seed: int) -> Iterator[float]:
    """Give the offsets, in seconds, at which an open loop's requests are due, without end.

    Poisson arrivals have independent exponential gaps of mean ``1/rate`` (inverse transform of
    ``random.Random.random``, which Python keeps the same for a seed in all its versions);
    constant ones are exactly ``1/rate`` apart, with no sum of rounding errors.
    """
    if process == "constant":
        yield from (number / rate for number in count())
        return
    uniform = stream(seed, "arrivals").random
    due = 0.0
    while True:
        yield due
        due -= math.log(1.0 - uniform()) / rate


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
