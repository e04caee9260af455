"""A named check: can this trial's figures be trusted?

A check with too few samples does not fail: a limit on a share of requests fails only where chance
alone (binomial, 1%) does not explain what was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_CHANCE: Final = 0.01


class Verdict(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    """Worth knowing; the figures stand."""
    FAIL = "fail"
    """The figures must not be trusted: the trial is invalid."""
    UNKNOWN = "unknown"
    """Nobody can tell here (for example a server that says nothing about its cache)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a trial held against its limit.

    Attributes:
        name: as in the record and the report, for example ``dispatch_lag_ms_p99``.
        figure: what was found; None where there is no figure.
        limit: what it was held against, in words with its unit (``<= 5 ms``).
        verdict: what that means.
        advice: what to change when it failed, or what is not known.
    """

    name: str
    figure: float | None
    limit: str
    verdict: Verdict
    advice: str = ""


def chance(samples: int, hits: int, share: float) -> float:
    """Give the probability of ``hits`` or more among ``samples`` if each hits with ``share``."""
    if hits <= 0:
        return 1.0
    log_p, log_q = math.log(share), math.log1p(-share)
    whole = math.lgamma(samples + 1)
    below = sum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(samples - k + 1)
            + k * log_p
            + (samples - k) * log_q
        )
        for k in range(hits)
    )
    return max(0.0, 1.0 - below)


def share_verdict(samples: int, hits: int, share: float) -> Verdict:
    """Judge a share that must not exceed ``share``."""
    if hits <= share * samples:
        return Verdict.PASS
    return Verdict.FAIL if chance(samples, hits, share) < _CHANCE else Verdict.WARN


def unknown(name: str, limit: str, why: str) -> Check:
    """Give the check that nobody can answer here, and why."""
    return Check(name, None, limit, Verdict.UNKNOWN, why)
