"""What can be wrong with a replica on purpose: slow, stalled or crashed, and steps that vary.

A fault is written as ``KIND key=value ...``, times in seconds since the replicas were ready:
``slow replica=1 factor=3``, ``stall replica=0 at=10 for=5``, ``crash replica=2 at=30 for=10``.
Whoever runs several trials on the same replicas begins that clock anew for each (``POST /faults``).
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("slow", "stall", "crash")
_KEYS: Final = ("replica", "at", "for", "factor")
_EXAMPLE: Final = "'stall replica=0 at=10 for=5'"


class BadFault(ValueError):
    """A text that names no fault; it says why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens to one replica.

    Attributes:
        kind: ``slow``: steps that begin meanwhile take ``factor`` times as long; ``stall``: no step
            goes on meanwhile, though the server still takes requests; ``crash``: connections are
            reset, and nobody listens until it is over, when the cache is empty.
        replica: which one, from 0.
        at: seconds since the replicas were ready, or were told to begin anew.
        lasts: seconds.
    """

    kind: str
    replica: int
    at: float = 0.0
    lasts: float = math.inf
    factor: float = 1.0

    @property
    def ends(self) -> float:
        """When it is over, on the clock of ``at``."""
        return self.at + self.lasts


def parse(text: str, replicas: int | None) -> Fault:
    """Read a fault for one of so many replicas; None where others are not this program's.

    Raises:
        BadFault: it is none.
    """
    kind, *pairs = text.split() or [""]
    if kind not in KINDS:
        raise BadFault(f"'{text}': a fault is one of {', '.join(KINDS)}, such as {_EXAMPLE}")
    values: dict[str, float] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in _KEYS or key in values or (key == "factor" and kind != "slow"):
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near and near[0] != key else ""
            raise BadFault(f"'{text}': '{key}' is twice or nothing that '{kind}' has{hint}")
        values[key] = _number(text, key, value)
    replica = values.get("replica", 0.0)
    if replica != int(replica) or (replicas is not None and replica >= replicas):
        most = "" if replicas is None else f" from 0 to {replicas - 1}"
        raise BadFault(f"'{text}': replica must be a whole number{most}")
    if kind == "slow" and values.get("factor", 1.0) <= 1.0:
        raise BadFault(f"'{text}': 'slow' needs a factor above 1, such as 'slow factor=3'")
    return Fault(
        kind,
        int(replica),
        values.get("at", 0.0),
        values.get("for", math.inf),
        values.get("factor", 1.0),
    )


def _number(text: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:  # also refuses NaN
        raise BadFault(f"'{text}': {key} must be a number that is not negative, not '{value}'")
    return number


class Disturbance:
    """When the steps of one replica end, faults and jitter taken into account.

    Attributes:
        epoch: time from which faults are counted, on the clock of the steps; infinite as long as
            that has not come.
    """

    def __init__(
        self, faults: Iterable[Fault] = (), jitter: float = 0.0, seed: int = 0, replica: int = 0
    ) -> None:
        own = sorted((f for f in faults if f.replica == replica), key=lambda fault: fault.at)
        self._slow = [fault for fault in own if fault.kind == "slow"]
        self._stalls = [fault for fault in own if fault.kind == "stall"]
        self._jitter = _lognormal(jitter, seed, replica) if jitter else None
        self.epoch = 0.0

    def end(self, begin: float, seconds: float) -> float:
        """Tell when a step ends that begins at ``begin`` and should take ``seconds``.

        Infinity when a stall without an end holds it.
        """
        if self._jitter is not None:
            seconds *= self._jitter()
        if self.epoch == math.inf:
            return begin + seconds
        since = begin - self.epoch
        for fault in self._slow:
            if fault.at <= since < fault.ends:
                seconds *= fault.factor
        end = since + seconds
        for fault in self._stalls:
            if since < fault.ends and end > fault.at:
                end += fault.ends - max(since, fault.at)
        return self.epoch + end


def _lognormal(sigma: float, seed: int, replica: int) -> Callable[[], float]:
    """Give factors of mean 1 whose logarithm has the standard deviation ``sigma``."""
    rng = random.Random(f"{seed}/{replica}")  # noqa: S311 - no secret
    return lambda: rng.lognormvariate(-sigma * sigma / 2, sigma)
