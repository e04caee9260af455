"""Check every distinct stack and model of a plan before anything is started."""

from __future__ import annotations

from llmatrix.harness.registry import harness
from llmatrix.plan.build import Plan
from llmatrix.stacks.registry import stack


def check(plan: Plan) -> None:
    """Ask stacks whether what the plan asks of them can work at all; asks nothing of the machine.

    Raises:
        UserError: one cannot.
    """
    for treatment in plan.distinct_stacks():
        stack(treatment.stack.kind).check(treatment)


def preflight(plan: Plan, engine: str = "local") -> None:
    """Ask stacks and harnesses whether what the plan asks of them can work.

    What runs on a cluster is looked at by itself only: this machine need not reach it.

    Raises:
        UserError: one cannot, whatever the machine.
        EnvironmentFault: something that one needs is not there.
    """
    for treatment in plan.distinct_stacks():
        if engine == "local":
            stack(treatment.stack.kind).preflight(treatment)
        else:
            stack(treatment.stack.kind, on="kubernetes").check(treatment)
        harness(treatment.workload.harness).preflight(treatment)
