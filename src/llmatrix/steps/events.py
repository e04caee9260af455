"""What happens during a run, told as it happens to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmatrix.harness.protocol import Progress
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Record, StepOutcome


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A lane begins a trial."""

    lane: int
    trial: Trial


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step of the lane's trial begins."""

    lane: int
    trial: Trial
    step: Step


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step of the lane's trial ended."""

    lane: int
    trial: Trial
    outcome: StepOutcome


@dataclass(frozen=True, slots=True)
class WorkloadProgress:
    """The workload of the lane's trial goes on."""

    lane: int
    trial: Trial
    progress: Progress


@dataclass(frozen=True, slots=True)
class TrialRetried:
    """A try failed; another begins after a pause of ``pause_s`` seconds."""

    lane: int
    trial: Trial
    message: str
    pause_s: float


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """The lane's trial is done: a record, or a failure."""

    lane: int
    trial: Trial
    result: Record | Failure


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a reader should know, and that stops nothing."""

    message: str


Event = (
    TrialStarted | StepStarted | StepEnded | WorkloadProgress | TrialRetried | TrialEnded | Warned
)
Watch = Callable[[Event], None]
