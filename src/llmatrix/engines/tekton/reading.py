"""What Tekton's objects say about trials and lanes: pure functions from documents to states.

Two habits of Tekton matter here, both seen on 1.6. All containers of a pod start at once and those
of later steps wait, so a step is running only when every step before it has ended. And steps that
were never run, because an earlier one failed, look like failed ones but for their
``terminationReason``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Object
from llmatrix.engines.tekton.queueing import PENDING
from llmatrix.steps.told import DETAIL, OUTCOME

_CALLED_OFF: Final = frozenset(
    {"Cancelled", "CancelledRunFinally", "StoppedRunFinally", "PipelineRunCancelled"}
)


class Phase(StrEnum):
    """How far a step, a trial or a lane is."""

    PENDING = "pending"
    """Of a lane: made, and not to be started before somebody says so."""
    WAITING = "waiting"
    """Not begun; of a step of an ended trial: never run."""
    RUNNING = "running"
    ENDED = "ended"


class Cause(StrEnum):
    """Why a TaskRun or PipelineRun did not end well."""

    STEP = "a step failed"
    TIMEOUT = "out of time"
    MEMORY = "out of memory"
    POD_LOST = "the pod was lost"
    IMAGE = "an image cannot be pulled"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """It could not be started as it was asked for: no such task, no right, no quota."""


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of a trial.

    Attributes:
        step: its name; one of the eight, where the Task is ours.
        phase: waiting, running or ended.
        outcome: that the step told itself (applied, unchanged, skipped, failed), or "".
        detail: why, in its own words, or "".
        exit_code: None until it has ended, and for a step that was never run.
        started_at: POSIX second, or None.
        ended_at: the same.
    """

    step: str
    phase: Phase
    outcome: str = ""
    detail: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class TrialState:
    """One TaskRun.

    Attributes:
        trial: id of the trial, or "" where the TaskRun does not say it (yet).
        task_run: its name.
        pod: name of its pod, or "".
        phase: waiting, running or ended.
        steps: in their order; empty before there is a pod.
        told: results of the Task (``llmatrix.steps.told``), those that are there.
        reason: of the condition, as Tekton names it.
        message: of the condition, as Tekton writes it.
        cause: why it did not end well; None while it goes on, and if it did.
        tries: pods that were made for it, one for each of Tekton's retries too.
    """

    trial: str
    task_run: str
    pod: str
    phase: Phase
    steps: tuple[StepState, ...]
    told: Mapping[str, str]
    reason: str
    message: str
    started_at: float | None
    ended_at: float | None
    cause: Cause | None = None
    tries: int = 1

    @property
    def step(self) -> StepState | None:
        """The step that runs now, or that ended it."""
        if self.phase is Phase.ENDED:
            return next((step for step in self.steps if step.exit_code), None)
        return next((step for step in self.steps if step.phase is Phase.RUNNING), None)


@dataclass(frozen=True, slots=True)
class LaneRun:
    """One PipelineRun.

    Attributes:
        name: of the PipelineRun.
        experiment: name of the experiment, as the label has it.
        run: which submission made it, as the label has it.
        lane: number of the lane, or None.
        expires: POSIX second after which nobody wants what it made, or None.
        phase: pending, waiting, running or ended.
        cause: why it did not end well, or None.
        reason: of the condition, as Tekton names it.
        message: of the condition, as Tekton writes it.
        finishing: whether its ``finally`` tasks have begun.
        document: the PipelineRun itself.
    """

    name: str
    experiment: str
    run: str
    lane: int | None
    expires: int | None
    phase: Phase
    cause: Cause | None
    reason: str
    message: str
    started_at: float | None
    ended_at: float | None
    finishing: bool = False
    document: Object = field(default_factory=dict, repr=False, compare=False)


_CAUSES: Final[Mapping[str, Cause]] = {
    "TaskRunTimeout": Cause.TIMEOUT,
    "PipelineRunTimeout": Cause.TIMEOUT,
    "TaskRunCancelled": Cause.CANCELLED,
    "Cancelled": Cause.CANCELLED,
    "CancelledRunningFinally": Cause.CANCELLED,
    "StoppedRunningFinally": Cause.CANCELLED,
    "PipelineRunStopping": Cause.CANCELLED,
    "TaskRunImagePullFailed": Cause.IMAGE,
    "ImagePullBackOff": Cause.IMAGE,
    "PodEvicted": Cause.POD_LOST,
}
_OF_STEPS: Final = frozenset({"Failed", "FailureIgnored", "Completed", "Failure"})
"""Reasons that only say that something below failed."""
_KILLED: Final = frozenset({255, 143, 137})
"""Exit codes of a step whose container was ended from outside; no step of ours gives them."""
_NEVER_RUN: Final = frozenset({"Skipped"})


def condition(document: Object) -> Mapping[str, str]:
    """Give the ``Succeeded`` condition of a TaskRun or PipelineRun; empty before it has one."""
    found = document.get("status", {}).get("conditions") or ()
    return next((each for each in found if each.get("type") == "Succeeded"), {})


def ended(document: Object) -> bool:
    """Tell whether a TaskRun or PipelineRun is over."""
    return condition(document).get("status") in {"True", "False"}


def called_off(document: Object) -> bool:
    """Tell whether somebody has asked for the end of a PipelineRun, whether or not it has come."""
    return document.get("spec", {}).get("status") in _CALLED_OFF


def succeeded(document: Object) -> bool:
    """Tell whether a TaskRun or PipelineRun ended well."""
    return condition(document).get("status") == "True"


def moment(text: str | None) -> float | None:
    """Read a time of Kubernetes (RFC 3339) as a POSIX second; None for none."""
    return None if not text else datetime.fromisoformat(text).timestamp()


def read_trial(document: Object) -> TrialState:
    """Read a TaskRun."""
    metadata, status = document["metadata"], document.get("status") or {}
    now = condition(document)
    over = ended(document)
    steps = _steps(status.get("steps") or (), over=over)
    told = {
        each["name"]: each["value"]
        for each in status.get("results") or ()
        if isinstance(each["value"], str)
    }
    begun = any(step.phase is not Phase.WAITING for step in steps)
    trial = (metadata.get("labels") or {}).get(labels.TRIAL) or told.get("trial", "")
    return TrialState(
        trial=trial.strip(),
        task_run=metadata["name"],
        pod=status.get("podName") or "",
        phase=Phase.ENDED if over else Phase.RUNNING if begun else Phase.WAITING,
        steps=steps,
        told=told,
        reason=now.get("reason", ""),
        message=" ".join(now.get("message", "").split()),
        started_at=moment(status.get("startTime")),
        ended_at=moment(status.get("completionTime")),
        cause=None if not over or succeeded(document) else _cause(now, status.get("steps") or ()),
        tries=1 + len(status.get("retriesStatus") or ()),
    )


def read_lane(document: Object) -> LaneRun:
    """Read a PipelineRun."""
    metadata, status = document["metadata"], document.get("status") or {}
    known, now = metadata.get("labels") or {}, condition(document)
    over = ended(document)
    if over:
        phase = Phase.ENDED
    elif document.get("spec", {}).get("status") == PENDING:
        phase = Phase.PENDING
    else:
        phase = Phase.RUNNING if status.get("startTime") else Phase.WAITING
    reason = now.get("reason", "")
    failed = over and not succeeded(document)
    return LaneRun(
        name=metadata["name"],
        experiment=known.get(labels.EXPERIMENT, ""),
        run=known.get(labels.RUN, ""),
        lane=_number(known.get(labels.LANE)),
        expires=_number(known.get(labels.EXPIRES)),
        phase=phase,
        cause=_CAUSES.get(reason, _of_reason(reason)) if failed else None,
        reason=reason,
        message=" ".join(now.get("message", "").split()),
        started_at=moment(status.get("startTime")),
        ended_at=moment(status.get("completionTime")),
        finishing=bool(status.get("finallyStartTime")),
        document=document,
    )


def why(state: TrialState) -> str:
    """Say in one line why a trial's TaskRun did not end well, or why it does not begin."""
    if state.phase is not Phase.ENDED:
        return state.message if state.phase is Phase.WAITING else ""
    if state.cause is None:
        return ""
    step = state.step
    where = f"{step.step}: " if step is not None else ""
    if state.cause is Cause.STEP and step is not None:
        return f"{where}{step.detail or f'ended with exit code {step.exit_code}'}"
    return f"{where}{state.cause} ({state.message})" if state.message else f"{where}{state.cause}"


def _steps(documents: Sequence[Mapping[str, Any]], *, over: bool) -> tuple[StepState, ...]:
    states: list[StepState] = []
    before: StepState | None = None
    for each in documents:
        before = _step(each, before, over=over)
        states.append(before)
    return tuple(states)


def _step(each: Mapping[str, Any], before: StepState | None, *, over: bool) -> StepState:
    name, done = each["name"], each.get("terminated")
    results = {result["name"]: str(result["value"]) for result in each.get("results") or ()}
    outcome, detail = results.get(OUTCOME, "").strip(), results.get(DETAIL, "").strip()
    if done is not None:
        if each.get("terminationReason") in _NEVER_RUN:
            return StepState(name, Phase.WAITING)
        began = _began(before, moment(done.get("startedAt")))
        ended_at = moment(done.get("finishedAt"))
        return StepState(name, Phase.ENDED, outcome, detail, int(done["exitCode"]), began, ended_at)
    first = before is None or before.phase is Phase.ENDED
    if not over and first and each.get("running") is not None:
        began = _began(before, moment(each["running"].get("startedAt")))
        return StepState(name, Phase.RUNNING, outcome, detail, None, began)
    return StepState(name, Phase.WAITING)


def _began(before: StepState | None, container: float | None) -> float | None:
    """Give when a step began: not before the one ahead of it ended, whenever its container did."""
    if before is None or before.ended_at is None or container is None:
        return container
    return max(before.ended_at, container)


def _cause(now: Mapping[str, str], steps: Sequence[Mapping[str, Any]]) -> Cause:
    reason = now.get("reason", "")
    if reason in _CAUSES:
        return _CAUSES[reason]
    for each in steps:
        done = each.get("terminated")
        if done is None or not done.get("exitCode"):
            continue
        if each.get("terminationReason") in {"Continued", *_NEVER_RUN}:
            continue
        if done.get("reason") == "OOMKilled":
            return Cause.MEMORY
        if each.get("terminationReason") == "TimeoutExceeded":
            return Cause.TIMEOUT
        return Cause.POD_LOST if done["exitCode"] in _KILLED else Cause.STEP
    return _of_reason(reason)


def _of_reason(reason: str) -> Cause:
    """Take any reason that we do not know for a refusal: Tekton names dozens of those."""
    return Cause.STEP if reason in _OF_STEPS else Cause.REFUSED


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
