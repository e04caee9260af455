"""Step 4: the model's files, where the servers read them."""

from __future__ import annotations

from llmatrix.plan.step import Step
from llmatrix.steps import standing
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Converge the model files. They stand on the namespace: servers change, weights stay."""
    return standing.converge(Step.MODEL, run)
