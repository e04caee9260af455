"""From an experiment file to a plan that is checked as far as it can be without starting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmatrix.cli.wording import left_out
from llmatrix.errors import StoreFault, UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.estimate import StepSeconds, hold_to_budget
from llmatrix.plan.variants import as_it_is
from llmatrix.spec.load import Loaded, load
from llmatrix.spec.matrix import possible_kinds
from llmatrix.spec.select import select

if TYPE_CHECKING:
    from llmatrix.stacks.llmd.rendering import Rendering


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
    file: Path,
    overrides: Sequence[str],
    only: Sequence[str],
    *,
    strict: bool = False,
    renew_lock: bool = False,
) -> Prepared:
    """Load, render, plan and check an experiment file.

    With ``strict`` every treatment must fit; with ``renew_lock`` the digests of its charts are
    taken anew.

    Raises:
        UserError: something that the user wrote is wrong; nothing was started.
        EnvironmentFault: a chart cannot be rendered on this machine.
    """
    loaded = load(file, overrides=overrides)
    rendering = _rendering(loaded, renew_lock=renew_lock)
    finish = as_it_is if rendering is None else rendering
    plan = Plan(
        loaded,
        versions,
        only=select(loaded, only),
        step_seconds=_earlier_step_seconds(loaded),
        finish=finish,
    )
    if rendering is not None:
        rendering.hold(plan)
        for note in dict.fromkeys(rendering.notes):
            click.echo(f"note: {note}", err=True)
    if strict and plan.left_out:
        raise UserError("\n".join(["--strict: every treatment must fit.", *left_out(plan)]))
    hold_to_budget(plan.estimate, plan.experiment.run.budget, str(file))
    whole = Plan(loaded, versions, finish=finish) if only else plan
    return Prepared(loaded, plan, whole)


def _rendering(loaded: Loaded, *, renew_lock: bool) -> Rendering | None:
    """Give what renders the layers that an experiment brings; None where none can be brought."""
    if "llm-d" not in possible_kinds(loaded.source.root).get("stack", ()):
        return None
    from llmatrix.stacks.llmd.rendering import Rendering  # noqa: PLC0415 - only charts need it

    return Rendering(loaded, renew=renew_lock)


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
