"""The whole of a trial: eight functions, folded one after another, again after what may pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from llmatrix.errors import StepFailure, Stopped, StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.record import Attempt, Failure, Outcome, Record, StepOutcome
from llmatrix.results.records import amend_record, write_failure
from llmatrix.steps import (
    gateway,
    model,
    namespace,
    retry,
    router,
    server,
    teardown,
    upload,
    workload,
)
from llmatrix.steps.events import (
    StepEnded,
    StepStarted,
    TrialEnded,
    TrialRetried,
    TrialStarted,
    Warned,
)
from llmatrix.steps.run import Ended, TrialRun

STEPS: Final[Mapping[Step, Callable[[TrialRun], Ended]]] = MappingProxyType(
    {
        Step.NAMESPACE: namespace.converge,
        Step.GATEWAY: gateway.converge,
        Step.ROUTER: router.converge,
        Step.MODEL: model.converge,
        Step.SERVER: server.converge,
        Step.WORKLOAD: workload.converge,
        Step.UPLOAD: upload.converge,
        Step.TEARDOWN: teardown.converge,
    }
)


TEARDOWN_PAUSE_S: Final = 1.0


def converge(run: TrialRun, *, retries: int) -> Record | Failure:
    """Carry one trial through its steps until it is recorded, or has failed for good.

    Retry, resume and run are the same code: begin at the first step and converge again from
    whatever stands. A trial that fails for good is data, not an exception. The teardown comes
    once, after the last try, and what became of it is added to the record.

    Raises:
        Stopped: the user stopped the run; what stands is left standing.
        StoreFault: the store cannot be written; the site keeps what was measured.
    """
    run.tell(TrialStarted(run.lane, run.trial))
    failed = reach(run, Step.NAMESPACE, Step.UPLOAD, retries)
    if failed is not None and failed.step is Step.UPLOAD:
        raise StoreFault(failed.detail)
    close(run, retries)
    result = conclude(run, run.outcomes[-1])
    run.tell(TrialEnded(run.lane, run.trial, result))
    return result


def reach(run: TrialRun, first: Step, last: Step, retries: int) -> StepOutcome | None:
    """Converge the steps from ``first`` to ``last``; give the one that failed for good, or None.

    After what may pass, it begins again at the first of all steps: from whatever stands then.

    Raises:
        Stopped: the user stopped the run.
    """
    while True:
        if first is Step.NAMESPACE:
            run.outcomes.clear()
        run.last_try = len(run.attempts) >= retries
        started = time.monotonic()
        failed = _first_failure(run, first, last)
        if failed is None:
            return None
        outcome, failure = failed
        run.attempts.append(
            Attempt(
                step=outcome.step,
                failure=failure.failure.value,
                message=str(failure),
                seconds=time.monotonic() - started,
            )
        )
        run.log = failure.log
        again = retry.after(run.attempts, retries)
        if again is None:
            return outcome
        for step in again.remake:
            run.site.disclaim(step)
        run.tell(TrialRetried(run.lane, run.trial, str(failure), again.pause_s))
        if run.stop.wait(again.pause_s):
            raise Stopped("stopped by the user")
        first = Step.NAMESPACE


def close(run: TrialRun, retries: int) -> None:
    """Do the last step; what it could not remove is an outcome, and a warning, not a failure."""
    for left in reversed(range(retries + 1)):
        outcome, failure = _step(Step.TEARDOWN, run)
        if failure is None:
            return
        if left:
            run.outcomes.pop()
            time.sleep(TEARDOWN_PAUSE_S)
    run.tell(Warned(f"{outcome.detail} `llmatrix gc` tries again."))


def conclude(run: TrialRun, last: StepOutcome) -> Record | Failure:
    """Keep what became of the trial, its last step included.

    Raises:
        StoreFault: the store cannot be written.
    """
    if run.record is None:
        failure = failure_of(run)
        write_failure(run.store, failure)
        return failure
    record = run.record.model_copy(update={"steps": [*run.record.steps, last]})
    amend_record(run.store, record)
    return record


def failure_of(run: TrialRun) -> Failure:
    """Tell why the trial could not be measured; at least one try must have failed."""
    trial = run.trial
    return Failure(
        trial=trial.id,
        experiment=trial.experiment,
        levels=dict(trial.levels),
        replicate=trial.replicate.document(),
        steps=list(run.outcomes),
        attempts=list(run.attempts),
        ended_at=time.time(),
        log=run.log,
    )


def _first_failure(
    run: TrialRun, first: Step, last: Step
) -> tuple[StepOutcome, StepFailure] | None:
    order = list(STEPS)
    for step in order[order.index(first) : order.index(last) + 1]:
        outcome, failure = _step(step, run)
        if failure is not None:
            return outcome, failure
    return None


def _step(step: Step, run: TrialRun) -> tuple[StepOutcome, StepFailure | None]:
    """Run one step; its outcome and seconds are kept and told, whatever becomes of it."""
    if run.stop.is_set() and step is not Step.TEARDOWN:
        raise Stopped("stopped by the user")
    run.tell(StepStarted(run.lane, run.trial, step))
    started = time.monotonic()
    failure: StepFailure | None = None
    try:
        ended = STEPS[step](run)
    except StepFailure as error:
        failure, ended = error, Ended(Outcome.FAILED, str(error))
    outcome = StepOutcome(
        step=step,
        outcome=ended.outcome,
        seconds=time.monotonic() - started,
        key=run.trial.keys[step],
        detail=ended.detail,
    )
    run.outcomes.append(outcome)
    run.tell(StepEnded(run.lane, run.trial, outcome))
    return outcome, failure
