"""Step 8: take down what stands on the site, and verify that nothing is left."""

from __future__ import annotations

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.results.record import Outcome
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Remove the stack, if the trial closes its site and the stack is ours.

    Raises:
        StepFailure: something could not be removed; the sentence says what.
    """
    if (ended := nothing_to_do(run)) is not None:
        return ended
    left = run.stack.remove(run.site)
    if left:
        raise StepFailure(f"could not remove {'; '.join(left)}.", FailureClass.ENVIRONMENT)
    return Ended(Outcome.APPLIED)


def nothing_to_do(run: TrialRun) -> Ended | None:
    """Say why nothing is taken down; None where something is."""
    if not run.owns(Step.NAMESPACE):
        return Ended(Outcome.SKIPPED, f"a stack of kind {run.stack.kind} is not ours to remove")
    if not run.closes:
        return Ended(Outcome.SKIPPED, "the site goes on to the lane's next trial")
    return None
