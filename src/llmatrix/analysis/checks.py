"""A named check: can this trial's figures be trusted?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
