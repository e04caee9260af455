"""Step 6: send the trial's traffic, time the answers, and judge whether the figures hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.harness.protocol import Job, Progress
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Outcome
from llmatrix.spec.stacks import SimulatedStack
from llmatrix.steps.events import WorkloadProgress
from llmatrix.steps.measured import Measured, judge, write_measured
from llmatrix.steps.run import Ended, TrialRun

MEASURED: Final = "measured.json"
"""In the outbox, written last: the workload of this trial was measured here."""


def outbox(run: TrialRun) -> Path:
    """Give the folder on the site in which the trial's files wait for upload."""
    return run.site.folder / "outbox" / run.trial.id


def converge(run: TrialRun) -> Ended:
    """Measure, unless the outbox already holds this trial's measurement (upload was cut short).

    Raises:
        StepFailure: class ``server`` when a server ended meanwhile, so that it is made anew; in
            the last try on a cluster, and where the trial asked for it, its figures are kept
            instead, as invalid.
    """
    wanted = run.trial.keys[Step.WORKLOAD]
    if run.site.claimed(Step.WORKLOAD) == wanted and (outbox(run) / MEASURED).is_file():
        return Ended(Outcome.UNCHANGED, "measured before, not yet uploaded")
    run.site.disclaim(Step.WORKLOAD)
    shutil.rmtree(run.site.folder / "outbox", ignore_errors=True)
    outbox(run).mkdir(parents=True)
    measured = _measure(run)
    write_measured(outbox(run) / MEASURED, measured)
    run.site.claim(Step.WORKLOAD, wanted)
    return Ended(Outcome.APPLIED)


def _measure(run: TrialRun) -> Measured:
    trial = run.trial
    named = run.files(trial.treatment)
    target = run.stack.target(trial, run.site)
    hygiene = run.stack.cleanse(trial, run.site, frozenset(run.changed))
    restarts = run.stack.restarts(trial, run.site)

    def progress(update: Progress) -> None:
        run.tell(WorkloadProgress(run.lane, trial, update))

    job = Job(
        target=target,
        model=named.model,
        workload=named.workload,
        seed=trial.traffic_seed,
        folder=outbox(run),
    )
    measurement = run.harness.run(job, progress=progress, stop=run.stop)
    run.changed.clear()
    _save_logs(run)
    restarts = run.stack.restarts(trial, run.site) - restarts
    endings = run.stack.endings(trial, run.site) if restarts > 0 else []
    # Of a server that is gone for good there is nothing to judge; a cluster starts it again. One
    # that crashes because the trial says so would crash in the next try, too.
    kept = endings and (run.last_try or _meant_to_crash(trial))
    if restarts > 0 and not kept:
        how = f": {'; '.join(endings)}" if endings else ""
        raise StepFailure(
            f"a server ended while the workload ran{how}; its last lines are in the log.",
            FailureClass.SERVER,
            log=_last_lines(run),
        )
    return judge(
        trial,
        outbox(run),
        measurement,
        hygiene,
        target=target,
        restarts=max(restarts, 0),
        endings=endings,
    )


def _meant_to_crash(trial: Trial) -> bool:
    stack = trial.treatment.stack
    return isinstance(stack, SimulatedStack) and stack.crashes


def _save_logs(run: TrialRun) -> None:
    folder = outbox(run) / "logs"
    folder.mkdir(exist_ok=True)
    for name, text in run.stack.logs(run.site).items():
        (folder / name).write_text(text, encoding="utf-8")


def _last_lines(run: TrialRun, lines: int = 40) -> str:
    logs = run.stack.logs(run.site)
    return "\n".join(
        f"{name}: {line}" for name, text in logs.items() for line in text.splitlines()[-lines:]
    )
