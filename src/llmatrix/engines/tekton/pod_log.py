"""What a step in a pod says: plain lines, for ``tkn`` and ``kubectl logs``."""

from __future__ import annotations

import sys
import time
from typing import Final

from llmatrix.plan.trial import Trial
from llmatrix.results.record import StepOutcome
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

_EVERY_S: Final = 10.0


class PodLog:
    """Prints what happens, one line each; the workload's progress every ten seconds."""

    def __init__(self) -> None:
        self._last_progress = 0.0

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        match event:
            case Warned(message=message):
                say(f"warning: {message}")
            case TrialStarted(trial=trial):
                say(f"trial {trial.id}: {levels(trial)}")
            case StepStarted():
                pass
            case StepEnded(outcome=outcome):
                say(ended(outcome))
            case TrialRetried(message=message, pause_s=pause_s):
                say(f"again in {pause_s:.0f} s: {message}")
            case WorkloadProgress(progress=progress):
                if time.monotonic() - self._last_progress >= _EVERY_S:
                    self._last_progress = time.monotonic()
                    say(
                        f"{progress.phase}: {progress.elapsed_s:.0f} of {progress.total_s:.0f} s, "
                        f"{progress.done} answered, {progress.failed} failed"
                    )
            case TrialEnded(trial=trial):
                say(f"trial {trial.id} ended")


def ended(outcome: StepOutcome) -> str:
    """Tell in one line what became of a step."""
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{outcome.step} {outcome.outcome} in {outcome.seconds:.1f} s{detail}"


def say(text: str) -> None:
    """Print one line."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - the log of the pod


def printable(text: str) -> str:
    """Replace control characters: they could forge another line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def levels(trial: Trial) -> str:
    """Give the levels of a trial and its replicate, for people."""
    told = [f"{path.rpartition('.')[2]}={level}" for path, level in trial.levels.items()]
    if any(trial.replicate.document().values()):
        which = trial.replicate.control
        last = f"control {which}" if which else str(trial.replicate.workload)
        told.append(f"replicate {trial.replicate.deployment}.{last}")
    return ", ".join(told) or "the only treatment"
