"""What to do after a failed try: decided by the class of the failure, never a blind loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmatrix.errors import FailureClass
from llmatrix.plan.step import Step
from llmatrix.results.record import Attempt

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_WORKLOAD_TRIES: Final = 2
"""A load generator that broke twice on the same workload will break again."""

_UPLOAD_TRIES: Final = 6
"""With the pauses between, about two and a half minutes of a store that is away."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again: after a pause, with these steps made anew."""

    pause_s: float
    remake: tuple[Step, ...] = ()


def after(attempts: Sequence[Attempt], retries: int) -> Retry | None:
    """Say how to go on after the last of ``attempts`` failed; None: the trial failed for good."""
    last = attempts[-1]
    failure = FailureClass(last.failure)
    if _store_away(last):
        return _upload_again(attempts) if retries else None
    attempts = [attempt for attempt in attempts if not _store_away(attempt)]
    alike = sum(1 for attempt in attempts if attempt.failure == last.failure)
    if failure is FailureClass.USER or len(attempts) > retries:
        return None
    if failure is FailureClass.WORKLOAD:
        return Retry(_FIRST_PAUSE_S) if alike < _WORKLOAD_TRIES else None
    pause_s = min(_FIRST_PAUSE_S * 2 ** (alike - 1), _LONGEST_PAUSE_S)
    remake = (Step.SERVER,) if failure is FailureClass.SERVER else ()
    return Retry(pause_s, remake)


def _store_away(attempt: Attempt) -> bool:
    return attempt.step is Step.UPLOAD and attempt.failure == FailureClass.ENVIRONMENT.value


def _upload_again(attempts: Sequence[Attempt]) -> Retry | None:
    """Wait for a store that is away: what was measured is there, and only it is asked for again."""
    tries = sum(map(_store_away, attempts))
    return Retry(_FIRST_PAUSE_S * 2 ** (tries - 1)) if tries < _UPLOAD_TRIES else None
