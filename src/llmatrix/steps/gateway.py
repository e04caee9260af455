"""Step 2: the gateway through which requests enter the cluster."""

from __future__ import annotations

from llmatrix.plan.step import Step
from llmatrix.steps import standing
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Converge the gateway. It stands on the namespace."""
    return standing.converge(Step.GATEWAY, run)
