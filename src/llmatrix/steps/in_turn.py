"""The steps of a trial one at a time, each by a process of its own, as in the pod of a TaskRun.

The same functions as in ``converge``; what they hand to one another waits in a folder in between.
A step that fails by what may pass begins again at the first step, within its own process; one
that failed for good leaves the steps after it nothing to do but to say so, to keep the failure
and to take the site down.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from llmatrix.errors import StepFailure, StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.record import Attempt, Failure, Outcome, Record, StepOutcome
from llmatrix.results.records import write_failure
from llmatrix.steps import idle, standing, teardown
from llmatrix.steps.converge import close, conclude, failure_of, reach
from llmatrix.steps.run import Ended, TrialRun


@dataclass(slots=True)
class SoFar:
    """What the steps before this one left.

    Attributes:
        failed: the step that failed for good, if one did.
    """

    outcomes: list[StepOutcome] = field(default_factory=list)
    changed: list[Step] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    log: str = ""
    failed: Step | None = None
    record: Record | None = None


_SO_FAR: Final = TypeAdapter(SoFar)


def read_so_far(folder: Path) -> SoFar:
    """Read what the steps before this one left; nothing, before the first."""
    try:
        return _SO_FAR.validate_json((folder / idle.SO_FAR).read_bytes())
    except FileNotFoundError:
        return SoFar()


def write_so_far(folder: Path, so_far: SoFar) -> None:
    """Leave it for the next step, whole or not at all."""
    new = folder / f"{idle.SO_FAR}.new"
    new.write_bytes(_SO_FAR.dump_json(so_far))
    new.replace(folder / idle.SO_FAR)


def take_step(
    step: Step, run: TrialRun, so_far: SoFar, *, retries: int
) -> tuple[StepOutcome, Record | Failure | None]:
    """Do one step of a trial, after those that ``so_far`` tells of; ``so_far`` then tells of it.

    Returns:
        What became of the step; and after the upload and the teardown, what the trial left.

    Raises:
        Stopped: the process was told to end.
        StoreFault: the store cannot be written.
    """
    _take_up(run, so_far)
    if step is Step.TEARDOWN:
        close(run, retries)
        result: Record | Failure | None = (
            conclude(run, run.outcomes[-1]) if _has_ended(so_far) else None
        )
    elif so_far.failed is not None:
        _skip(step, run, so_far.failed)
        result = _keep_failure(run) if step is Step.UPLOAD else None
    else:
        failed = reach(run, step, step, retries)
        so_far.failed = None if failed is None else failed.step
        if failed is not None and failed.step is Step.UPLOAD:
            raise StoreFault(failed.detail)
        result = run.record
        if result is not None and (last := teardown.nothing_to_do(run)) is not None:
            result = conclude(run, _outcome(Step.TEARDOWN, run, last))
    so_far.outcomes, so_far.changed = list(run.outcomes), sorted(run.changed)
    so_far.attempts, so_far.log, so_far.record = list(run.attempts), run.log, run.record
    return run.outcomes[-1], result


def foreseen(run: TrialRun) -> list[StepOutcome]:
    """Give the outcomes of the steps that will have nothing to do, as the first step can tell.

    Those that the trial's kind of stack does not have; those whose outcome stands, up to the first
    one that must be applied; and the teardown, where the site goes on to the next trial. What
    breaks after this look is met by the workload, which then begins at the first step again.
    """
    found: list[StepOutcome] = []
    as_wanted = True
    for step in standing.STEPS:
        started = time.monotonic()
        ended = standing.not_owned(step, run)
        if ended is None and as_wanted:
            ended = _stands(step, run)
            as_wanted = ended is not None
        if ended is not None:
            found.append(_outcome(step, run, ended, time.monotonic() - started))
    if (ended := teardown.nothing_to_do(run)) is not None:
        found.append(_outcome(Step.TEARDOWN, run, ended))
    return found


def _stands(step: Step, run: TrialRun) -> Ended | None:
    with contextlib.suppress(StepFailure):  # the step itself will meet it, and say so
        return standing.nothing_to_do(step, run)
    return None


def _outcome(step: Step, run: TrialRun, ended: Ended, seconds: float = 0.0) -> StepOutcome:
    return StepOutcome(
        step=step,
        outcome=ended.outcome,
        seconds=seconds,
        key=run.trial.keys[step],
        detail=ended.detail,
    )


def _take_up(run: TrialRun, so_far: SoFar) -> None:
    run.outcomes = list(so_far.outcomes)
    run.changed = set(so_far.changed)
    run.attempts = list(so_far.attempts)
    run.log, run.record = so_far.log, so_far.record


def _has_ended(so_far: SoFar) -> bool:
    """Tell whether there is something to keep: a record, or a try that failed."""
    return so_far.record is not None or bool(so_far.attempts)


def _skip(step: Step, run: TrialRun, failed: Step) -> None:
    ended = Ended(Outcome.SKIPPED, f"the trial failed for good in step {failed}")
    run.outcomes.append(_outcome(step, run, ended))


def _keep_failure(run: TrialRun) -> Failure:
    failure = failure_of(run)
    write_failure(run.store, failure)
    return failure
