"""A lane as PipelineRuns: segments that follow one another, each small enough for the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import PIPELINE_RUN, Object
from llmatrix.cluster.naming import dns_name
from llmatrix.cluster.users import USER
from llmatrix.engines.tekton import timeouts
from llmatrix.engines.tekton.objects import hashed, made
from llmatrix.engines.tekton.queueing import PENDING, QUEUE, requested
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.task import WORKSPACE
from llmatrix.plan.trial import Trial
from llmatrix.steps.lane_orders import LaneOrders

MOST_BYTES: Final = 400_000
"""Of a PipelineRun as it is created: its status repeats the pipeline, and etcd takes 1.5 MiB."""
MOST_TASKS: Final = 100
"""Of a pipeline: Tekton looks at every one of them whenever one changes."""
CLOSING: Final = "close"
"""Name of the task in ``finally``."""
_LONGEST_NAME: Final = 48
"""Leaves room for what Tekton adds for a TaskRun, so that its names stay readable."""
_AFTER: Final = 40
"""Bytes of ``runAfter``."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A pipeline task, and what it runs.

    Attributes:
        task: without ``runAfter``.
        trials: that it runs: one, or those of a matrix.
        seconds: that it may take.
        labels: of its TaskRun.
        annotations: of its TaskRun.
    """

    task: dict[str, Any]
    trials: tuple[Trial, ...]
    seconds: int
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    def size(self) -> int:
        """Give its share of the PipelineRun, in bytes of JSON."""
        return len(json.dumps((self.task, self.labels, self.annotations)).encode()) + _AFTER


@dataclass(frozen=True, slots=True)
class LaneRun:
    """What the PipelineRuns of a lane share.

    Attributes:
        orders: of the lane.
        settings: how the experiment runs.
        close: name of the Task that closes a segment.
    """

    orders: LaneOrders
    settings: Settings
    close: str


def pipeline_runs(units: Iterable[Unit], lane: LaneRun) -> list[Object]:
    """Make the PipelineRuns of a lane; all but the first wait until the one before lets them go."""
    cut = _segments(units)
    names = [_name(lane, number) for number in range(len(cut))]
    return [
        _pipeline_run(name, segment, lane, first=name == names[0], following=following)
        for name, segment, following in zip(names, cut, [*names[1:], ""], strict=True)
    ]


def _segments(units: Iterable[Unit]) -> list[list[Unit]]:
    cut: list[list[Unit]] = []
    taken = 0
    for unit in units:
        size = unit.size()
        if not cut or taken + size > MOST_BYTES or len(cut[-1]) == MOST_TASKS:
            cut.append([])
            taken = 0
        cut[-1].append(unit)
        taken += size
    return cut


def _name(lane: LaneRun, number: int) -> str:
    site = lane.orders.site
    following = [str(number + 1)] if number else []
    return dns_name(site.experiment, site.run, str(site.lane), *following, limit=_LONGEST_NAME)


def _pipeline_run(
    name: str, segment: Sequence[Unit], lane: LaneRun, *, first: bool, following: str
) -> Object:
    settings = lane.settings
    trials = [trial for unit in segment for trial in unit.trials]
    trials_s = [timeouts.trial_s(trial, settings.retries) for trial in trials]
    tasks = _chained(segment)
    pipeline: dict[str, Any] = {
        "description": f"Experiment {lane.orders.site.experiment}, lane {lane.orders.site.lane}.",
        "params": [{"name": "orders", "type": "string"}],
        "tasks": tasks,
        "finally": [_closing(lane, following, timeouts.closing_s(trials_s))],
    }
    spec: dict[str, Any] = {
        "params": [{"name": "orders", "value": lane.orders.encoded()}],
        "pipelineSpec": pipeline,
        "taskRunTemplate": {
            "serviceAccountName": settings.account,
            "podTemplate": _pod_template(settings),
        },
        "timeouts": timeouts.written([unit.seconds for unit in segment], trials_s),
    }
    if specs := _task_run_specs(segment):
        spec["taskRunSpecs"] = specs
    if settings.claim is not None:
        claim = {"claimName": settings.claim.name}
        pipeline["workspaces"] = [{"name": WORKSPACE}]
        spec["workspaces"] = [{"name": WORKSPACE, "persistentVolumeClaim": claim}]
    if settings.queue is not None or not first:
        spec["status"] = PENDING
    # Neither when it was compiled nor what earlier trials took is part of what was asked for.
    asked = hashed([name, following, lane.close, *([t["name"], t["taskRef"]] for t in tasks)])
    return {**_begun(name, asked, trials, lane, first=first), "spec": spec}


def _begun(name: str, asked: str, trials: Sequence[Trial], lane: LaneRun, *, first: bool) -> Object:
    site, settings = lane.orders.site, lane.settings
    extra = {
        labels.EXPERIMENT: site.experiment,
        labels.RUN: site.run,
        labels.LANE: str(site.lane),
        labels.EXPIRES: str(site.expires),
    }
    annotations: dict[str, str] = {}
    if settings.queue is not None:
        annotations = requested(trials, settings)
        if first:  # the others join the queue when the one before lets them go
            extra[QUEUE] = settings.queue
    return made(
        PIPELINE_RUN,
        name,
        settings.namespace,
        spec=asked,
        extra=extra,
        annotations=annotations,
    )


def _chained(segment: Sequence[Unit]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for unit in segment:
        after = {"runAfter": [tasks[-1]["name"]]} if tasks else {}
        tasks.append({**unit.task, **after})
    return tasks


def _task_run_specs(segment: Sequence[Unit]) -> list[dict[str, Any]]:
    return [
        {
            "pipelineTaskName": unit.task["name"],
            "metadata": {"labels": unit.labels, "annotations": unit.annotations},
        }
        for unit in segment
        if unit.labels
    ]


def _closing(lane: LaneRun, following: str, seconds: int) -> dict[str, Any]:
    task: dict[str, Any] = {
        "name": CLOSING,
        "taskRef": {"kind": "Task", "name": lane.close},
        "params": [
            {"name": "orders", "value": "$(params.orders)"},
            {"name": "run", "value": "$(context.pipelineRun.name)"},
            {"name": "next", "value": following},
        ],
        "timeout": timeouts.duration(seconds),
    }
    return {**task, **workspaces(lane.settings)}


def workspaces(settings: Settings) -> dict[str, Any]:
    """Give what a pipeline task says of workspaces: nothing, unless there is a claim."""
    if settings.claim is None:
        return {}
    return {"workspaces": [{"name": WORKSPACE, "workspace": WORKSPACE}]}


def _pod_template(settings: Settings) -> dict[str, Any]:
    # Variables for every service of the namespace would be no part of a trial.
    template: dict[str, Any] = {"enableServiceLinks": False}
    if settings.claim is not None and not settings.openshift:
        # A new volume belongs to root; this makes the claim writable for the steps.
        group = {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
        template["securityContext"] = group
    return template
