"""Step 3: the endpoint picker that chooses a replica for each request."""

from __future__ import annotations

from llmatrix.plan.step import Step
from llmatrix.steps import standing
from llmatrix.steps.run import Ended, TrialRun


def converge(run: TrialRun) -> Ended:
    """Converge the router. It stands on the gateway; servers may come and go behind it."""
    return standing.converge(Step.ROUTER, run)
