"""How the verbs write durations, levels and verdicts; one way for all of them."""

from __future__ import annotations

from llmatrix.cli.printable import printable
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Record


def duration(seconds: float) -> str:
    """Write a duration as people read it: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 - an hour
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def counted(count: int, noun: str) -> str:
    """Write how many there are: ``1 trial``, ``1,200 trials``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def levels(trial: Trial) -> str:
    """Name a trial by the last parts of its factors' paths: ``config=queue question_len=100``."""
    told = [f"{path.rsplit('.', 1)[-1]}={label}" for path, label in trial.levels.items()]
    return " ".join(told) or "the only treatment"


def verdict(result: Record | Failure) -> str:
    """Say in a few words whether a trial's figures can be trusted."""
    if isinstance(result, Failure):
        last = result.attempts[-1]
        return f"failed at {last.step}: {printable(last.message)}"
    if result.valid:
        return "valid"
    return "invalid: " + ", ".join(check.name for check in result.failed_checks)
