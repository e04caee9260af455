"""Where a run is, folded from its events; whatever shows it reads this."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from llmatrix.harness.protocol import Progress
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Record
from llmatrix.steps.events import (
    Event,
    StepEnded,
    StepStarted,
    TrialEnded,
    TrialRetried,
    TrialStarted,
    Warned,
    WorkloadProgress,
)


@dataclass(slots=True)
class LaneState:
    """What one lane does now."""

    trial: Trial | None = None
    step: Step | None = None
    step_since: float = 0.0
    progress: Progress | None = None
    note: str = ""


@dataclass(slots=True)
class RunState:
    """A run so far.

    Attributes:
        planned: trials of the plan.
        reused: of those, how many had a record before the run began.
        expected_s: seconds that the missing trials are expected to take, on one lane.
    """

    planned: int
    reused: int
    lane_count: int
    expected_s: float
    started: float = field(default_factory=time.monotonic)
    lanes: dict[int, LaneState] = field(default_factory=dict)
    ended: list[tuple[Trial, Record | Failure]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _ended_expected_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        """Trials of the plan that have a record, or failed in this run."""
        return self.reused + len(self.ended)

    @property
    def failed(self) -> int:
        """Trials that failed for good in this run."""
        return sum(1 for _, result in self.ended if isinstance(result, Failure))

    @property
    def invalid(self) -> int:
        """Trials of this run whose figures must not be trusted."""
        return sum(1 for _, r in self.ended if isinstance(r, Record) and not r.valid)

    def elapsed_s(self) -> float:
        """Give the seconds since the run began."""
        return time.monotonic() - self.started

    def remaining_s(self) -> float:
        """Expect the rest of the run: the plan's estimate, scaled by how it held so far."""
        left_s = max(self.expected_s - self._ended_expected_s, 0.0)
        expected_so_far_s = self._ended_expected_s / self.lane_count
        under_way_s = sum(
            lane.progress.elapsed_s for lane in self.lanes.values() if lane.progress is not None
        )
        pace = 1.0
        if expected_so_far_s > 0:
            pace = (self.elapsed_s() - under_way_s / self.lane_count) / expected_so_far_s
        return max(left_s - under_way_s, 0.0) * max(pace, 0.1) / self.lane_count

    def apply(self, event: Event) -> None:
        """Take one event in; lanes tell theirs from threads of their own."""
        with self._lock:
            if isinstance(event, Warned):
                self.warnings.append(event.message)
                return
            lane = self.lanes.setdefault(event.lane, LaneState())
            match event:
                case TrialStarted(trial=trial):
                    self.lanes[event.lane] = LaneState(trial=trial)
                case StepStarted(step=step):
                    lane.step, lane.step_since, lane.progress = step, time.monotonic(), None
                    lane.note = ""
                case StepEnded():
                    pass
                case WorkloadProgress(progress=progress):
                    lane.progress = progress
                case TrialRetried(message=message, pause_s=pause_s):
                    lane.note = f"again in {pause_s:.0f} s: {message}"
                case TrialEnded(trial=trial, result=result):
                    self.ended.append((trial, result))
                    self._ended_expected_s += trial.estimate_s
                    self.lanes[event.lane] = LaneState()


def run_state(plan: Plan, finished: frozenset[str]) -> RunState:
    """Begin the state of a run in which ``finished`` trials are reused."""
    expected_s, reused = 0.0, 0
    for trial in plan:
        if trial.id in finished:
            reused += 1
        else:
            expected_s += trial.estimate_s
    return RunState(
        planned=len(plan),
        reused=reused,
        lane_count=max(len(plan.lanes), 1),
        expected_s=expected_s,
    )
