"""Records on the claim of an earlier run: one that was cancelled, or that nobody watched."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM
from llmatrix.engines.tekton.leaving import leave
from llmatrix.engines.tekton.settings import resolved
from llmatrix.engines.tekton.submit import live_runs
from llmatrix.plan.build import Plan
from llmatrix.results.claim import ClaimStore, default_image
from llmatrix.results.records import finished
from llmatrix.results.store import Store
from llmatrix.results.transfer import copy_trial
from llmatrix.steps.events import Watch


def bring(
    cluster: Cluster, plan: Plan, store: Store, done: AbstractSet[str], *, tell: Watch
) -> int:
    """Copy to the user's store the records of a plan that it lacks and the claim has.

    Nothing is copied while PipelineRuns of the experiment are under way: whoever follows them
    collects what they leave. Where nothing is missing afterwards, what they left is removed.

    Args:
        cluster: the cluster.
        plan: of the experiment.
        store: the user's.
        done: ids of trials whose records the store has.
        tell: is told what is taken down, and what could not be removed.

    Returns:
        How many were copied.

    Raises:
        UserError: the plan cannot be run on a cluster.
        ClusterFault: the cluster cannot be asked.
        StoreFault: the claim cannot be read, or the store not be written.
    """
    settings = resolved(plan, namespace=cluster.namespace, image=default_image())
    home, claim, experiment = settings.namespace, settings.claim, plan.experiment.name
    if claim is None or cluster.metadata(PERSISTENT_VOLUME_CLAIM, claim.name, home) is None:
        return 0
    if live_runs(cluster, home, experiment):
        return 0
    source = ClaimStore(cluster, home, claim.name)
    wanted = {trial.id for trial in plan}
    try:
        there = finished(source, experiment)
        waiting = there & wanted - done
        for trial in sorted(waiting):
            copy_trial(source, experiment, trial, store)
    finally:
        source.close()
    if wanted <= waiting | done and there <= waiting | done:
        # No run follows that would remove what that one left; every record is the user's now.
        leave(cluster, settings, experiment, tell)
    return len(waiting)
