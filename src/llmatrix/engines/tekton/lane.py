"""The end of a lane, inside its PipelineRun: what went missing is measured, then all is taken down.

A trial whose pod was lost, evicted or timed out left neither a record nor a failure. The last
task of the PipelineRun runs each such trial once more, in its own pod, through the same converge
loop; then it lets the lane's next part begin, or takes the site down.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import PIPELINE_RUN, Object
from llmatrix.engines.tekton.collect import SKEW_S
from llmatrix.engines.tekton.pod import check_versions, slots_of, trial_run
from llmatrix.engines.tekton.pod_log import say
from llmatrix.engines.tekton.queueing import QUEUE
from llmatrix.engines.tekton.reading import called_off
from llmatrix.errors import StoreFault
from llmatrix.plan.document import decode_trials
from llmatrix.plan.trial import Trial
from llmatrix.results.folder import open_store
from llmatrix.results.records import left_behind
from llmatrix.results.store import Store
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.steps.converge import converge
from llmatrix.steps.lane_orders import LaneOrders

TRIALS_PARAM: Final = "trial"
"""Param of a pipeline task that holds its trials' document."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The lane whose end has come.

    Attributes:
        pipeline_run: that this runs in; its spec holds the documents of its trials.
        following: name of the PipelineRun with the lane's next trials, or "".
    """

    cluster: Cluster
    orders: LaneOrders
    pipeline_run: str
    following: str
    work: Path

    def finish(self, stop: threading.Event) -> int:
        """Run what is missing, then go on with the lane or take it down; give the exit code.

        Raises:
            ClusterFault: the cluster does not let us.
        """
        home = self.orders.site.home
        run = self.cluster.get(PIPELINE_RUN, self.pipeline_run, home)
        if run is None:
            raise ClusterFault(f"PipelineRun {home}/{self.pipeline_run} is gone")
        cancelled = called_off(run)
        if not cancelled:
            self._second_pass(run, stop)
        if self.following and not cancelled:
            self._let_begin((run["metadata"].get("labels") or {}).get(QUEUE, ""))
            return 0
        if not cancelled and self._keeps(run):
            return 0
        left = self.take_down()
        for each in left:
            say(f"could not remove: {each}")
        return 1 if left else 0

    def _keeps(self, run: Object) -> bool:
        """Leave the site standing if that was asked for and it stands; tell whether it is so."""
        site = KubernetesSite(self.cluster, self.orders.site, self.work)
        asked = labels.KEEP in (run["metadata"].get("labels") or {}) and not self.orders.fresh
        if not asked or not site.stands():
            return False
        site.keep()
        say(f"site {self.orders.site.name} is kept up")
        return True

    def take_down(self) -> list[str]:
        """Take down every site of the lane; give in words what could not be removed."""
        orders = self.orders
        addresses = [orders.site]
        if orders.fresh:
            documents = self.cluster.get(PIPELINE_RUN, self.pipeline_run, orders.site.home) or {}
            addresses = [orders.site.of_trial(trial.id) for trial in trials_of(documents)]
        left: list[str] = []
        for address in addresses:
            left += KubernetesSite(self.cluster, address, self.work).remove()
        slots = slots_of(self.cluster, orders)
        if slots is not None:
            slots.clear()
        return left

    def _second_pass(self, run: Object, stop: threading.Event) -> None:
        store = open_store(self.orders.store, folder=Path("/"))
        trials = list(trials_of(run))
        try:
            missing = lost(store, trials, since=_created(run))
        except StoreFault as fault:
            say(f"warning: the store cannot tell which trials are missing: {fault}")
            return
        for trial in missing:
            say(f"trial {trial.id} left neither a record nor a failure; it is run again")
            check_versions(trial)
            try:
                converge(
                    trial_run(trial, self.orders, self.cluster, self.work, stop),
                    retries=self.orders.retries,
                )
            except StoreFault as fault:
                say(f"warning: {fault}")

    def _let_begin(self, queue: str) -> None:
        """Let the next part begin: at once, or from the queue that this one came from."""
        change: dict[str, Any] = {"spec": {"status": None}}
        if queue:
            # The queue's controller unsuspends it when it is admitted.
            change = {"metadata": {"labels": {QUEUE: queue}}}
        home = self.orders.site.home
        if self.cluster.merge(PIPELINE_RUN, self.following, home, change) is None:
            say(f"warning: PipelineRun {self.following} is gone; run the experiment again")


def trials_of(pipeline_run: Object) -> Iterator[Trial]:
    """Give the trials whose documents a PipelineRun carries, in their order."""
    spec = pipeline_run.get("spec", {})
    for task in spec.get("pipelineSpec", {}).get("tasks", []):
        params = list(task.get("params", []))
        for combination in task.get("matrix", {}).get("include", []):
            params += combination.get("params", [])
        for param in params:
            if param["name"] == TRIALS_PARAM:
                yield from decode_trials(param["value"])


def lost(store: Store, trials: list[Trial], *, since: float) -> list[Trial]:
    """Give the trials that left neither a record nor a failure after ``since`` (POSIX seconds).

    Raises:
        StoreFault: the store cannot be read.
    """
    left = [left_behind(store, trial.experiment, trial.id) for trial in trials]
    return [
        trial
        for trial, result in zip(trials, left, strict=True)
        if result is None or result.ended_at < since - SKEW_S
    ]


def _created(run: Object) -> float:
    stamp = run["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(stamp).timestamp()
