"""Step 5: the model servers."""

from __future__ import annotations

from llmatrix.plan.step import Step
from llmatrix.steps import standing
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Converge the servers. They stand on the model files."""
    return standing.converge(Step.SERVER, run)
