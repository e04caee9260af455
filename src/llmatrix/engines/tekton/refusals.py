"""What cannot run on a cluster at all, said before anything is made."""

from __future__ import annotations

import json

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.plan.build import Plan
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.stacks import EndpointStack, ProcessStack
from llmatrix.stacks.llmd import layers
from llmatrix.stacks.llmd.manifest_rules import not_of_a_site
from llmatrix.stacks.llmd.placeholders import SITE


def hold(plan: Plan) -> None:
    """Refuse a plan that asks for what is only on this machine.

    Raises:
        SpecError: it does; the sentence says where, and what to change.
    """
    for treatment in plan.distinct_stacks():
        for path, message, advice in _faults(plan, treatment):
            raise SpecError(Problem(place(plan, path), path, message, advice))


def place(plan: Plan, path: str) -> Place:
    """Find where a path is set: in the document, or as a factor."""
    source = plan.loaded.source
    keys = ("matrix", path) if path in plan.paths else tuple(path.split("."))
    return source.place(keys)


def _faults(plan: Plan, treatment: Treatment) -> list[tuple[str, str, str]]:
    stack = treatment.stack
    found = []
    if isinstance(stack, ProcessStack):
        found.append(
            (
                "stack.kind",
                "a stack of kind process runs on this machine, and Tekton's steps do not.",
                "Set run.engine: local, or take another kind of stack.",
            )
        )
    cluster = plan.experiment.run.cluster
    if isinstance(stack, LlmdStack) and stack.model.claim is not None and not cluster.namespaced:
        found.append(
            (
                "stack.model.claim",
                "a claim is mounted in its own namespace only, and each lane makes a new one.",
                "Set run.cluster.namespaced: true, so that servers run where the claim is.",
            )
        )
    if cluster.namespaced and isinstance(stack, LlmdStack):
        found += _shared_names(stack)
    env = cluster.env
    if isinstance(stack, EndpointStack) and stack.api_key_env and stack.api_key_env not in env:
        name = stack.api_key_env
        found.append(
            (
                "stack.api_key_env",
                f"the steps on the cluster do not have the variable {name}.",
                f"Add to run.cluster.env: {name}: {{secret: NAME, key: KEY}}.",
            )
        )
    return found


def _shared_names(stack: LlmdStack) -> list[tuple[str, str, str]]:
    """Find objects of brought layers that two sites in one namespace would both claim."""
    found = []
    for step in layers.BRINGABLE:
        rendered = layers.layer(stack, step).rendered
        objects = json.loads(rendered.text) if rendered is not None else []
        if named := not_of_a_site(objects):
            found.append(
                (
                    f"stack.{step}",
                    f"{', '.join(named)}: with run.cluster.namespaced several sites share the "
                    f"namespace, and this name is not a site's own.",
                    f"Put {SITE} into it, by the chart's values or in the manifests.",
                )
            )
    return found
