"""The two Tasks: a trial, which is the eight steps, and the close of a lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmatrix.cluster.kinds import TASK, Object
from llmatrix.engines.tekton.objects import (
    PROGRAM,
    WORK,
    by_content,
    environment,
    requests,
    security,
    template,
    volumes,
)
from llmatrix.engines.tekton.settings import RESULTS, Settings
from llmatrix.plan.step import Step
from llmatrix.steps import told

WORKSPACE: Final = "results"
"""Workspace with the claim for the records; not bound where they go to an object store."""


def trial_task(
    actions: Mapping[Step, Object], settings: Settings, picks: Sequence[tuple[str, str]] = ()
) -> Object:
    """Make the Task of a trial.

    A failed step says so by its exit code and its results, and the later ones skip themselves,
    but for those that store the failure and clean up. So no step stops the Task, and a trial that
    failed for good is data.

    Args:
        actions: the StepActions.
        settings: how the experiment runs.
        picks: params and the paths of the factors whose levels they are; with them ``trial``
            holds all the trials of a matrix, and the levels say which one this is.
    """
    spec: dict[str, Any] = {
        "description": "One trial: its eight steps, each of which may find its work done already.",
        "params": [
            {"name": "trial", "type": "string", "description": "The trial, as a document."},
            {"name": "orders", "type": "string", "description": "Where and how it runs."},
            {
                "name": "treatment",
                "type": "string",
                "description": "Its levels, for people.",
                "default": "",
            },
            *(
                {"name": name, "type": "string", "description": f"Level of {path}."}
                for name, path in picks
            ),
        ],
        "results": [
            {
                "name": name,
                "type": "string",
                "value": f"$(steps.{Step.UPLOAD.value}.results.{name})",
            }
            for name in told.RESULTS
        ],
        "workspaces": [_workspace()],
        "stepTemplate": template(settings),
        "steps": [_step(step, actions[step], settings, picks) for step in Step],
        "volumes": volumes(),
    }
    return by_content(TASK, "llmatrix-trial", settings.namespace, spec)


def closing_task(settings: Settings) -> Object:
    """Make the Task that closes a lane, or a segment of it.

    It runs again what has no record (a lost pod, an eviction, a timeout), and then lets the next
    segment go or takes the site down.
    """
    params = {
        "orders": "Where and how the lane runs.",
        "run": "This PipelineRun.",
        "next": "The PipelineRun that waits for this one.",
    }
    given = [word for name in params for word in (f"--{name}", f"$(params.{name})")]
    finish: dict[str, Any] = {
        "name": "finish",
        "image": settings.image,
        "command": PROGRAM,
        "args": ["lane", "finish", *given, "--work", WORK],
        "securityContext": security(settings),
        "computeResources": requests(settings, measures=True),
    }
    if settings.env:
        finish["env"] = environment(settings.env)
    spec = {
        "description": "Runs the trials that have no record again, then lets the lane's next "
        "PipelineRun go, or takes the site down.",
        "params": [
            {"name": name, "type": "string", "description": means} for name, means in params.items()
        ],
        "workspaces": [_workspace()],
        "stepTemplate": template(settings),
        "steps": [finish],
        "volumes": volumes(),
    }
    return by_content(TASK, "llmatrix-close", settings.namespace, spec)


def _step(
    step: Step, action: Object, settings: Settings, picks: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": step.value,
        "ref": {"name": action["metadata"]["name"]},
        "onError": "continue",
        "computeResources": requests(settings, measures=step is Step.WORKLOAD),
    }
    if step is Step.NAMESPACE:
        document["params"] = [
            {"name": "trial", "value": "$(params.trial)"},
            {"name": "orders", "value": "$(params.orders)"},
        ]
        if picks:
            words = [w for name, path in picks for w in ("--pick", f"{path}=$(params.{name})")]
            document["params"].append({"name": "picks", "value": words})
    return document


def _workspace() -> dict[str, Any]:
    return {
        "name": WORKSPACE,
        "description": "The claim for the records, where the store is a folder.",
        "mountPath": RESULTS,
        "optional": True,
    }
