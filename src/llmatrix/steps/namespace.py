"""Step 1: the site itself, emptied of whatever another experiment or kind of stack left on it."""

from __future__ import annotations

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.steps import standing
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Take the site over. Its key is the experiment's, with the kind of stack.

    Raises:
        StepFailure: something that stands there from before could not be removed.
    """
    claimed = run.site.claimed(Step.NAMESPACE)
    wanted = run.trial.keys[Step.NAMESPACE] if run.owns(Step.NAMESPACE) else None
    if claimed is not None and claimed != wanted:
        left = run.site.clear()
        if left:
            raise StepFailure(
                f"the site still holds what stood before: {'; '.join(left)}.",
                FailureClass.ENVIRONMENT,
            )
    return standing.converge(Step.NAMESPACE, run)
