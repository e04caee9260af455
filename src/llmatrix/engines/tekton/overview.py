"""What goes on of an experiment on a cluster, lane by lane: read once, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PIPELINE_RUN, TASK_RUN, Object
from llmatrix.cluster.naming import label_value
from llmatrix.engines.tekton.cancel import of_experiment
from llmatrix.engines.tekton.lane import trials_of
from llmatrix.engines.tekton.progress import trial_of
from llmatrix.engines.tekton.reading import LaneRun, Phase, TrialState, read_lane, read_trial, why
from llmatrix.engines.tekton.sites import Found, find_sites
from llmatrix.errors import UserError

PIPELINE_RUN_OF = "tekton.dev/pipelineRun"


@dataclass(frozen=True, slots=True)
class TrialOnCluster:
    """A trial's TaskRun, and which trial it is.

    Attributes:
        trial: id of the trial, or "" where the TaskRun does not say it.
        pipeline_run: that it is of.
        state: what it does.
    """

    trial: str
    pipeline_run: str
    state: TrialState

    @property
    def failed(self) -> bool:
        """Whether it ended without a measurement."""
        told = self.state.told.get("status") == "failed"
        return self.state.phase is Phase.ENDED and (told or self.state.cause is not None)

    @property
    def words(self) -> str:
        """Why it failed or does not begin, in one line; or ""."""
        return why(self.state) or (self.state.told.get("why", "") if self.failed else "")


@dataclass(frozen=True, slots=True)
class LaneOnCluster:
    """A PipelineRun with its trials.

    Attributes:
        run: the PipelineRun.
        planned: trials that it carries.
        trials: those that have a TaskRun, in the order in which they began.
        closing: its last task, once that is there.
    """

    run: LaneRun
    planned: int
    trials: tuple[TrialOnCluster, ...]
    closing: TrialState | None

    def count(self, phase: Phase) -> int:
        """Count the trials in a phase; those without a TaskRun are waiting."""
        found = sum(1 for each in self.trials if each.state.phase is phase)
        return found + (self.planned - len(self.trials) if phase is Phase.WAITING else 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """All of an experiment that is on a cluster."""

    lanes: tuple[LaneOnCluster, ...]
    sites: Found

    def trials(self) -> list[TrialOnCluster]:
        """Give the trials of all lanes, the latest begun last."""
        found = [each for lane in self.lanes for each in lane.trials]
        return sorted(found, key=lambda each: each.state.started_at or 0.0)


def overview(cluster: Cluster, home: str, experiment: str) -> Overview:
    """Look at an experiment's PipelineRuns, TaskRuns and sites.

    Raises:
        ClusterFault: the cluster cannot be asked.
    """
    selection = of_experiment(experiment)
    runs = cluster.find(PIPELINE_RUN, home, selection)
    task_runs = cluster.find(TASK_RUN, home, {labels.EXPERIMENT: label_value(experiment)})
    sites = find_sites(cluster, home, {labels.EXPERIMENT: label_value(experiment)})
    return Overview(read_lanes(runs, task_runs), sites)


def read_lanes(runs: Iterable[Object], task_runs: Iterable[Object]) -> tuple[LaneOnCluster, ...]:
    """Put TaskRuns to the PipelineRuns that they are of."""
    by_run: dict[str, list[Object]] = {}
    for each in task_runs:
        marks = each["metadata"].get("labels") or {}
        by_run.setdefault(marks.get(PIPELINE_RUN_OF, ""), []).append(each)
    lanes = [_lane(run, by_run.get(run["metadata"]["name"], ())) for run in runs]
    return tuple(sorted(lanes, key=lambda lane: (lane.run.lane or 0, lane.run.name)))


def _lane(document: Object, task_runs: Sequence[Object]) -> LaneOnCluster:
    run = read_lane(document)
    trials: list[TrialOnCluster] = []
    closing: TrialState | None = None
    for each in task_runs:
        state = read_trial(each)
        if (each["metadata"].get("labels") or {}).get("tekton.dev/memberOf") == "finally":
            closing = state
        else:
            trials.append(TrialOnCluster(_trial_of(each) or state.trial, run.name, state))
    trials.sort(key=lambda each: each.state.started_at or 0.0)
    return LaneOnCluster(run, max(_planned(document), len(trials)), tuple(trials), closing)


def _planned(document: Object) -> int:
    try:
        return sum(1 for _ in trials_of(document))
    except UserError:  # another version wrote it
        return 0


def _trial_of(document: Object) -> str:
    try:
        return trial_of(document)
    except UserError:
        return ""
