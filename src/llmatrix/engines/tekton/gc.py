"""What interrupted runs left on a cluster: found, and removed as ``unwanted`` decides.

Sites are looked at before PipelineRuns: a PipelineRun is there before its site, so a site that is
seen and whose PipelineRun is not seen afterwards has lost it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import (
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    STEP_ACTION,
    TASK,
    Kind,
    Object,
)
from llmatrix.cluster.naming import label_value
from llmatrix.engines.tekton import carried
from llmatrix.engines.tekton.cancel import PATIENCE_S, Ending, end_runs
from llmatrix.engines.tekton.lost_homes import lost_bindings
from llmatrix.engines.tekton.reading import read_lane
from llmatrix.engines.tekton.sites import AT_ONCE, Say, find_sites, remove
from llmatrix.engines.tekton.unwanted import Decision, Doomed, Seen

_OURS: Final[dict[str, str | None]] = {labels.MANAGED_BY: labels.OURS}


def look(
    cluster: Cluster, home: str, experiment: str | None = None
) -> tuple[Seen, tuple[str, ...]]:
    """Look at what ``decide`` wants to know; and say, in sentences, what we may not look at.

    Raises:
        ClusterFault: the cluster cannot be reached, or the PipelineRuns cannot be seen: without
            them nothing can be told orphaned.
    """
    sites = find_sites(cluster, home, {})
    unseen = list(sites.unseen)
    definitions: list[tuple[Kind, Object]] = []
    for kind in (TASK, STEP_ACTION):
        try:
            definitions += [(kind, each) for each in cluster.find(kind, home, _OURS)]
        except Refused as error:
            unseen.append(str(error))
    runs = [read_lane(each) for each in cluster.find(PIPELINE_RUN, home, _OURS)]
    found: dict[Kind, list[Object]] = {POD: [], PERSISTENT_VOLUME_CLAIM: []}
    for kind in found:
        try:
            found[kind] = cluster.find(kind, home, _OURS)
        except Refused as error:
            unseen.append(str(error))
    told = [f"{each}; nothing can be said about those" for each in dict.fromkeys(unseen)]
    bindings, untold = ([], "") if experiment is not None else lost_bindings(cluster)
    seen = Seen(
        sites=sites.sites,
        runs=runs,
        definitions=definitions,
        pods=found[POD],
        claims=found[PERSISTENT_VOLUME_CLAIM],
        carried=carried.standing(cluster, home),
        bindings=bindings,
    )
    return seen, (*told, *([untold] if untold else ()))


def carry_out(
    cluster: Cluster, home: str, decision: Decision, *, say: Say, stop: threading.Event
) -> list[str]:
    """Remove what was decided; tell each thing when it is gone.

    Returns:
        What could not be removed, in words.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    ending = Ending()
    if decision.end:
        end_runs(cluster, home, decision.end, _OURS, ending, say=say, stop=stop)

    def go(doomed: Doomed) -> list[str]:
        try:
            problems = remove(cluster, doomed.pieces, PATIENCE_S, stop=stop)
        except ClusterFault as error:
            return [f"{doomed.told}: {error}"]
        if not problems:
            say(f"removed {doomed.told}: {doomed.why}")
        return problems

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [*ending.left, *(each for left in pool.map(go, decision.remove) for each in left)]


def of_experiment(name: str | None) -> str | None:
    """Give the label value by which an experiment's objects are known."""
    return None if name is None else label_value(name)
