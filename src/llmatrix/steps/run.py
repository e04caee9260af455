"""What the steps of one trial work on and hand to one another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from llmatrix.harness.protocol import Harness
from llmatrix.plan.keys import owned_steps
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Attempt, Outcome, Record, StepOutcome
from llmatrix.results.store import Store
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.site import Site
from llmatrix.steps.events import Watch


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a step, in its own words."""

    outcome: Outcome
    detail: str = ""


Files = Callable[[Treatment], Treatment]
"""Gives a treatment with the files that it names where this process can read them."""


def where_they_are(treatment: Treatment) -> Treatment:
    """Give a treatment on the machine on which it was planned: its files are there."""
    return treatment


@dataclass(slots=True)
class TrialRun:
    """One trial on its way through the steps.

    Attributes:
        closes: whether the site is taken down after this trial (its lane ends, or it is fresh).
        outcomes: of the steps so far, in this try.
        changed: the steps applied since the last workload on this site.
        attempts: the tries that failed.
        log: the last lines of the log that explains the last failure.
        record: as uploaded.
        last_try: whether a trial that fails now has failed for good.
        files: finds the files that the trial names; raises ``StepFailure`` where it cannot.
    """

    trial: Trial
    site: Site
    stack: Stack
    harness: Harness
    store: Store
    stop: threading.Event
    tell: Watch
    lane: int = 0
    closes: bool = True
    outcomes: list[StepOutcome] = field(default_factory=list)
    changed: set[Step] = field(default_factory=set)
    attempts: list[Attempt] = field(default_factory=list)
    log: str = ""
    record: Record | None = None
    last_try: bool = False
    files: Files = where_they_are

    def owns(self, step: Step) -> bool:
        """Tell whether the trial's kind of stack does this step itself."""
        return step in owned_steps(self.trial.treatment.stack)
