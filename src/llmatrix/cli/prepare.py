"""From an experiment file to a plan that is checked as far as it can be without starting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from llmatrix.cli.wording import left_out
from llmatrix.errors import StoreFault, UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.estimate import StepSeconds, hold_to_budget
from llmatrix.spec.load import Loaded, load
from llmatrix.spec.select import select


@dataclass(frozen=True, slots=True)
class Prepared:
    """An experiment, planned.

    Attributes:
        loaded: the file.
        plan: what was selected of it.
        whole: the plan of all of it.
    """

    loaded: Loaded
    plan: Plan
    whole: Plan


def prepare(
    file: Path, overrides: Sequence[str], only: Sequence[str], *, strict: bool = False
) -> Prepared:
    """Load, plan and check an experiment file; with ``strict`` every treatment must fit.

    Raises:
        UserError: something that the user wrote is wrong; nothing was started.
    """
    loaded = load(file, overrides=overrides)
    plan = Plan(
        loaded, versions, only=select(loaded, only), step_seconds=_earlier_step_seconds(loaded)
    )
    if strict and plan.left_out:
        raise UserError("\n".join(["--strict: every treatment must fit.", *left_out(plan)]))
    hold_to_budget(plan.estimate, plan.experiment.run.budget, str(file))
    return Prepared(loaded, plan, Plan(loaded, versions) if only else plan)


def _earlier_step_seconds(loaded: Loaded) -> Mapping[str, StepSeconds]:
    """Look into the records of the experiment, if it has any; a store that fails tells nothing."""
    from llmatrix.results.folder import open_store  # noqa: PLC0415
    from llmatrix.results.records import applied_seconds  # noqa: PLC0415

    experiment = loaded.experiment
    try:
        store = open_store(experiment.results.store, folder=loaded.path.parent)
        return applied_seconds(store, experiment.name)
    except StoreFault:
        return {}


@lru_cache(maxsize=64)
def versions(stack_kind: str, harness_name: str) -> Mapping[str, str]:
    """Give the versions of what measures a treatment, for its trials' ids."""
    from llmatrix.harness.registry import harness  # noqa: PLC0415 - only planning needs them
    from llmatrix.stacks.registry import anywhere  # noqa: PLC0415

    return {
        "harness": f"{harness_name}/{harness(harness_name).version}",
        "stack": f"{stack_kind}/{anywhere(stack_kind).version}",
    }
