"""How the verbs write durations, levels and verdicts; one way for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from llmatrix.cli.printable import printable
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Record

if TYPE_CHECKING:
    from llmatrix.plan.build import Plan

_REASONS: Final = 8
"""Reasons that are told of one thing; more are counted."""


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
    return labels(trial.levels)


def labels(levels: Mapping[str, str]) -> str:
    """Name a treatment by the last parts of its factors' paths."""
    told = [f"{path.rsplit('.', 1)[-1]}={label}" for path, label in levels.items()]
    return " ".join(told) or "the only treatment"


def verdict(result: Record | Failure) -> str:
    """Say in a few words whether a trial's figures can be trusted."""
    if isinstance(result, Failure):
        last = result.attempts[-1]
        return f"failed at {last.step}: {printable(last.message)}"
    if result.valid:
        return "valid"
    return "invalid: " + ", ".join(check.name for check in result.failed_checks)


def left_out(plan: Plan) -> list[str]:
    """Name the treatments that cannot fit, and say of what nobody can tell; nothing if all may."""
    lines = [f"not judged whether it fits: {told}" for told in plan.unjudged]
    if not (gone := plan.left_out):
        return lines
    alike = Counter(each.why for each in gone)
    first = {each.why: each for each in reversed(gone)}
    verb = "does not fit and is" if len(gone) == 1 else "do not fit and are"
    lines.append(f"{counted(len(gone), 'treatment')} {verb} left out:")
    for why, count in list(alike.items())[:_REASONS]:
        more = f" (and {count - 1:,} more)" if count > 1 else ""
        lines.append(f"  {labels(first[why].levels)}{more}: {why}")
    if len(alike) > _REASONS:
        lines.append(f"  and {len(alike) - _REASONS:,} other reasons; --json tells all")
    return lines
