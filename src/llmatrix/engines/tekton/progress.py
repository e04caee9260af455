"""From what TaskRuns say to the events of a run: each told once, however often it is seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Object
from llmatrix.engines.tekton.factorial import param_name
from llmatrix.engines.tekton.lane import TRIALS_PARAM
from llmatrix.engines.tekton.pod import picked
from llmatrix.engines.tekton.reading import Phase, StepState, TrialState, read_trial, why
from llmatrix.plan.document import decode_trials
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.record import Failure, Outcome, Record, StepOutcome
from llmatrix.steps.events import StepEnded, StepStarted, TrialEnded, TrialStarted, Warned, Watch

_STEPS: Final = frozenset(Step)
_WAITS_S: Final = 60.0
"""So long a pod of a busy cluster may take to begin, without a word about it."""


@dataclass(slots=True)
class Seen:
    """A TaskRun as it was last seen, and what was told of it."""

    trial: str
    lane: int
    state: TrialState
    begun: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Progress:
    """Tells the events of a run from its TaskRuns.

    Attributes:
        trials: those that are carried, by id.
        tell: who listens.
        own_lanes: whether a trial's lane is that of its PipelineRun; else every trial that is on
            its way is shown on a line of its own.
        ended: what the trials that have ended left.
    """

    trials: Mapping[str, Trial]
    tell: Watch
    own_lanes: bool
    ended: dict[str, Record | Failure] = field(default_factory=dict)
    runs: dict[str, Seen] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def see(self, documents: Iterable[Object]) -> list[str]:
        """Take TaskRuns in; give the ids of trials whose TaskRun has ended since the last time."""
        ended: list[str] = []
        for document in documents:
            name = document["metadata"]["name"]
            known = self.runs.get(name)
            trial = known.trial if known is not None else trial_of(document)
            if trial not in self.trials or trial in self.ended:
                continue
            state = read_trial(document)
            before = None if known is None else known.state.phase
            seen = known or Seen(trial, self._lane(document), state)
            seen.state = state
            self.runs[name] = seen
            self._tell_steps(seen)
            if state.phase is Phase.ENDED and before is not Phase.ENDED:
                ended.append(trial)
            elif state.phase is Phase.WAITING and state.message:
                self._warn_waiting(name, state)
        return ended

    def end(self, trial_id: str, result: Record | Failure) -> None:
        """Tell that a trial is done."""
        self.ended[trial_id] = result
        lane = next((seen.lane for seen in self.runs.values() if seen.trial == trial_id), 0)
        self.tell(TrialEnded(lane, self.trials[trial_id], result))

    def last_words(self, trial_id: str) -> TrialState | None:
        """Give the state in which the last TaskRun of a trial was seen."""
        states = [seen.state for seen in self.runs.values() if seen.trial == trial_id]
        return max(states, key=lambda state: state.started_at or 0.0, default=None)

    def _lane(self, document: Object) -> int:
        if self.own_lanes:
            return int((document["metadata"].get("labels") or {}).get(labels.LANE, "0"))
        taken = {seen.lane for seen in self.runs.values() if seen.state.phase is not Phase.ENDED}
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _tell_steps(self, seen: Seen) -> None:
        trial = self.trials[seen.trial]
        for step in seen.state.steps:
            if step.step not in _STEPS or step.phase is Phase.WAITING:
                continue
            # A trial that waits for its turn does so in its first step; it has not begun.
            waits = not self.own_lanes and step.step == Step.NAMESPACE
            if step.step not in seen.begun and not (waits and step.phase is Phase.RUNNING):
                if not seen.begun:
                    self.tell(TrialStarted(seen.lane, trial))
                seen.begun.add(step.step)
                self.tell(StepStarted(seen.lane, trial, Step(step.step)))
            if step.phase is Phase.ENDED and step.step not in seen.done:
                seen.done.add(step.step)
                self.tell(StepEnded(seen.lane, trial, outcome_of(step, trial)))

    def _warn_waiting(self, name: str, state: TrialState) -> None:
        if name not in self._warned and _waits_in_vain(state):
            self._warned.add(name)
            self.tell(Warned(f"TaskRun {name} does not begin: {state.message}"))


def trial_of(document: Object) -> str:
    """Give the id of a TaskRun's trial: by its label, or by the documents in its params."""
    known = (document["metadata"].get("labels") or {}).get(labels.TRIAL)
    if known:
        return str(known)
    params = {each["name"]: each["value"] for each in document.get("spec", {}).get("params", [])}
    if TRIALS_PARAM not in params:
        return ""
    trials = decode_trials(params[TRIALS_PARAM])
    if len(trials) == 1:
        return trials[0].id
    return picked(trials, picks_of(params, trials[0])).id


def picks_of(params: Mapping[str, str], trial: Trial) -> dict[str, str]:
    """Give the levels that the params of a matrix' combination name."""
    paths = {param_name(path): path for path in [*trial.levels, "replicate"]}
    return {paths[name]: value for name, value in params.items() if name in paths}


def outcome_of(step: StepState, trial: Trial) -> StepOutcome:
    """Give what became of a step, as events have it."""
    known = step.outcome in set(Outcome)
    seconds = (step.ended_at or 0.0) - (step.started_at or step.ended_at or 0.0)
    return StepOutcome(
        step=Step(step.step),
        outcome=Outcome(step.outcome) if known else Outcome.FAILED,
        seconds=max(seconds, 0.0),
        key=trial.keys[Step(step.step)],
        detail=step.detail or ("" if known else f"ended with exit code {step.exit_code}"),
    )


def _waits_in_vain(state: TrialState) -> bool:
    waiting_s = 0.0 if state.started_at is None else time.time() - state.started_at
    return waiting_s > _WAITS_S and bool(why(state))
