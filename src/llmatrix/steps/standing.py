"""Converge one step whose outcome stands on the site: the one idea that carries the first five."""

from __future__ import annotations

from typing import Final

from llmatrix.plan.step import Step
from llmatrix.results.record import Outcome
from llmatrix.steps.run import Ended, TrialRun

STEPS: Final = (Step.GATEWAY, Step.ROUTER, Step.MODEL, Step.SERVER)
"""Those that this converges."""


def converge(step: Step, run: TrialRun) -> Ended:
    """Leave what stands if it is what the trial wants and still works; else make it so.

    The key is taken back before anything is touched and written only after the stack says that
    the thing is ready, so a failed or interrupted apply leaves no key and is repaired next time.

    Raises:
        StepFailure: the step could not be made so.
        Stopped: the user stopped the run meanwhile.
    """
    if (ended := nothing_to_do(step, run)) is not None:
        return ended
    wanted, standing = run.trial.keys[step], run.site.claimed(step)
    run.site.disclaim(step)
    run.stack.apply(step, run.trial, run.site, run.stop)
    run.site.claim(step, wanted)
    run.changed.add(step)
    return Ended(Outcome.APPLIED, _why(standing, wanted))


def nothing_to_do(step: Step, run: TrialRun) -> Ended | None:
    """Say that a step would leave things as they are; None where it would not.

    Raises:
        StepFailure: the site or the stack cannot be asked.
    """
    if (idle := not_owned(step, run)) is not None:
        return idle
    stands = run.site.claimed(step) == run.trial.keys[step]
    if stands and run.stack.healthy(step, run.trial, run.site):
        return Ended(Outcome.UNCHANGED)
    return None


def not_owned(step: Step, run: TrialRun) -> Ended | None:
    """Say that the trial's kind of stack has no such thing; None where it has."""
    if run.owns(step):
        return None
    return Ended(Outcome.SKIPPED, f"a stack of kind {run.stack.kind} has no {step} of ours")


def _why(standing: str | None, wanted: str) -> str:
    if standing is None:
        return "nothing stood"
    return "what stood no longer worked" if standing == wanted else "what stood was another"
