"""Check every distinct stack and model of a plan before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmatrix.errors import Problem, SpecError, UserError
from llmatrix.harness.registry import harness
from llmatrix.plan.build import Plan
from llmatrix.spec.paths import find, keys_of
from llmatrix.stacks.registry import KINDS, anywhere, stack


def check(plan: Plan) -> None:
    """Ask stacks whether what the plan asks of them can work at all; asks nothing of the machine.

    Raises:
        UserError: one cannot.
    """
    for treatment in plan.distinct_stacks():
        with _placed(plan):
            anywhere(treatment.stack.kind).check(treatment)


def preflight(plan: Plan, engine: str = "local") -> None:
    """Ask stacks and harnesses whether what the plan asks of them can work.

    What runs on a cluster is looked at by itself only: this machine need not reach it.

    Raises:
        UserError: one cannot, whatever the machine.
        EnvironmentFault: something that one needs is not there.
    """
    for treatment in plan.distinct_stacks():
        if engine == "local":
            _hold_here(plan, treatment.stack.kind)
            with _placed(plan):
                stack(treatment.stack.kind).preflight(treatment)
        else:
            with _placed(plan):
                stack(treatment.stack.kind, on="kubernetes").check(treatment)
        harness(treatment.workload.harness).preflight(treatment)


@contextmanager
def _placed(plan: Plan) -> Iterator[None]:
    """Add to what a stack refuses where in the file it stands, if it begins with a path."""
    try:
        yield
    except SpecError:
        raise
    except UserError as error:
        path, _, message = str(error).partition(": ")
        if find(path) is None:
            raise
        keys = ("matrix", path) if path in plan.paths else keys_of(path)
        place = plan.loaded.source.place(keys, key=True)
        raise SpecError(Problem(place, path, message)) from error


def _hold_here(plan: Plan, kind: str) -> None:
    """Refuse a kind of stack that cannot stand on this machine.

    Raises:
        SpecError: it cannot.
    """
    if kind in KINDS["local"]:
        return
    source = plan.loaded.source
    raise SpecError(
        Problem(
            source.place(
                ("matrix", "stack.kind") if "stack.kind" in plan.paths else ("stack", "kind")
            ),
            "stack.kind",
            f"a stack of kind {kind} runs on Kubernetes only, and the engine is local.",
            "Set run.engine: tekton, or take another kind of stack.",
        )
    )
