"""Step 7: bring what the trial left behind to the store; the record last."""

from __future__ import annotations

import shutil
import time

from llmatrix.errors import FailureClass, StepFailure, StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.host import host
from llmatrix.results.record import Outcome, Record, StepOutcome
from llmatrix.results.records import files_under, write_record
from llmatrix.steps.measured import Measured, read_measured
from llmatrix.steps.run import Ended, TrialRun
from llmatrix.steps.workload import MEASURED, outbox


def converge(run: TrialRun) -> Ended:
    """Write the trial's files and its record; the outbox is emptied only after that.

    Raises:
        StepFailure: class ``environment`` when the store cannot take it; the outbox keeps the
            measurement, so that another try or another run uploads it without measuring again.
    """
    started = time.monotonic()
    folder = outbox(run)
    measured = read_measured(folder / MEASURED)
    files = {name: path for name, path in files_under(folder).items() if name != MEASURED}
    try:
        run.record = write_record(run.store, _record(run, measured, started), files)
    except StoreFault as fault:
        raise StepFailure(str(fault), FailureClass.ENVIRONMENT) from fault
    run.site.disclaim(Step.WORKLOAD)
    shutil.rmtree(folder, ignore_errors=True)
    return Ended(Outcome.APPLIED)


def _record(run: TrialRun, measured: Measured, started: float) -> Record:
    trial = run.trial
    this = StepOutcome(
        step=Step.UPLOAD,
        outcome=Outcome.APPLIED,
        seconds=time.monotonic() - started,
        key=trial.keys[Step.UPLOAD],
    )
    return Record(
        trial=trial.id,
        experiment=trial.experiment,
        levels=dict(trial.levels),
        replicate=trial.replicate.document(),
        document=trial.treatment.model_dump(mode="json"),
        versions=dict(trial.versions),
        keys={step.value: key for step, key in trial.keys.items()},
        traffic_seed=trial.traffic_seed,
        simulated=measured.simulated,
        accelerators=trial.treatment.stack.accelerators,
        started_at=measured.started_at,
        ended_at=measured.ended_at,
        window_s=measured.window_s,
        steps=[*run.outcomes, this],
        attempts=list(run.attempts),
        metrics=measured.metrics,
        withheld=measured.withheld,
        checks=measured.checks,
        notes=measured.notes,
        host=host(),
    )
