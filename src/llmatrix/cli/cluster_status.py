"""What ``llmatrix status`` tells of a run on a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from llmatrix.cli.printable import printable
from llmatrix.cli.wording import counted, duration, levels

if TYPE_CHECKING:
    from llmatrix.engines.tekton.overview import LaneOnCluster, TrialOnCluster
    from llmatrix.plan.build import Plan
    from llmatrix.plan.trial import Trial

_MESSAGES: Final = 5
"""Last messages that are told of each lane."""


def cluster_lines(plan: Plan, namespace: str | None, context: str | None) -> Iterator[str]:
    """Tell what goes on of an experiment on the cluster, and what stands.

    Raises:
        ClusterFault: the cluster cannot be asked.
    """
    from llmatrix.cli.cluster_options import home_of  # noqa: PLC0415
    from llmatrix.cluster.api import Cluster  # noqa: PLC0415 - only now is a cluster asked
    from llmatrix.engines.tekton.overview import overview  # noqa: PLC0415

    experiment = plan.experiment
    with Cluster.connect(context, patience_s=10.0) as cluster:
        home = home_of(cluster, experiment, namespace)
        seen = overview(cluster, home, experiment.name)
    known = {trial.id: trial for trial in plan}
    if not seen.lanes:
        yield f"namespace {home}: no PipelineRun of {experiment.name}"
    now = time.time()
    for lane in seen.lanes:
        if lane.run.phase == "pending":
            continue
        yield _lane(lane, now)
        yield from (f"  {line}" for line in _below(lane, known, now))
    if pending := [lane for lane in seen.lanes if lane.run.phase == "pending"]:
        trials = counted(sum(lane.planned for lane in pending), "trial")
        yield f"{counted(len(pending), 'PipelineRun')} with {trials} wait for their turn"
    for site in seen.sites.sites:
        pieces = ", ".join(str(piece) for piece in site.pieces[:4])
        kept = " is kept up; `llmatrix gc --cluster --kept` ends it" if site.kept else " stands"
        yield f"site {site.name}{kept}: {pieces}"
    for each in seen.sites.unseen:
        yield f"warning: {printable(each)}"
    if any(lane.run.phase != "ended" for lane in seen.lanes):
        yield (
            "  `llmatrix run` watches and collects, `llmatrix logs` shows what steps say, "
            "`llmatrix cancel` ends it"
        )


def _lane(lane: LaneOnCluster, now: float) -> str:
    from llmatrix.engines.tekton.reading import Phase  # noqa: PLC0415

    run = lane.run
    failed = sum(each.failed for each in lane.trials)
    ended = lane.count(Phase.ENDED)
    told = f"{ended} of {counted(lane.planned, 'trial')} ended"
    if failed:
        told += f" ({failed} failed)"
    for phase in (Phase.RUNNING, Phase.WAITING):
        if count := lane.count(phase):
            told += f", {count} {phase}"
    state = str(run.phase)
    if run.phase is Phase.ENDED:
        state = "ended" if run.cause is None else f"ended: {run.cause}"
    elif run.finishing:
        state = "closing"
    since = ""
    if run.started_at is not None:
        since = f", {duration((run.ended_at or now) - run.started_at)}"
    return f"lane {run.lane if run.lane is not None else '?'}: {run.name} {state}{since}; {told}"


def _below(lane: LaneOnCluster, known: Mapping[str, Trial], now: float) -> Iterator[str]:
    from llmatrix.engines.tekton.reading import Cause, Phase, why  # noqa: PLC0415

    for each in lane.trials:
        if each.state.phase is Phase.RUNNING:
            yield f"{_named(each, known)}: {_step(each, now)}"
        elif each.state.phase is Phase.WAITING and each.words:
            yield f"{_named(each, known)} does not begin: {printable(each.words)}"
    told = [each for each in lane.trials if each.failed and each.words]
    for each in told[-_MESSAGES:]:
        yield f"{_named(each, known)} failed: {printable(each.words)}"
    if len(told) > _MESSAGES:
        yield f"… and {len(told) - _MESSAGES} more before"
    if lane.closing is not None and lane.closing.cause is not None:
        yield f"the close of the lane: {printable(why(lane.closing))}"
    if lane.run.cause not in (None, Cause.STEP, Cause.CANCELLED):
        yield printable(lane.run.message)


def _named(each: TrialOnCluster, known: Mapping[str, Trial]) -> str:
    trial = known.get(each.trial)
    told = f" {levels(trial)}" if trial is not None else ""
    return f"{each.trial[:8] or each.state.task_run}{told}"


def _step(each: TrialOnCluster, now: float) -> str:
    step = each.state.step
    if step is None:
        return "between two steps"
    since = "" if step.started_at is None else f" for {duration(now - step.started_at)}"
    return f"{step.step}{since}"
