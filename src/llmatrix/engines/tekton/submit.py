"""Put compiled objects on the cluster: in bounded batches, adopting what stands from before."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster, created_or_same
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import NAMESPACE, PIPELINE_RUN, SERVICE_ACCOUNT, Object
from llmatrix.engines.tekton.cancel import of_experiment
from llmatrix.engines.tekton.compile import Compiled
from llmatrix.engines.tekton.reading import ended
from llmatrix.engines.tekton.settings import Settings

_AT_ONCE: Final = 8
"""Objects created side by side; the API server's own limits stay far."""


def live_runs(cluster: Cluster, home: str, experiment: str) -> list[Object]:
    """Give the experiment's PipelineRuns that have not ended."""
    found = cluster.find(PIPELINE_RUN, home, of_experiment(experiment))
    return [each for each in found if not ended(each)]


def submit(cluster: Cluster, compiled: Compiled) -> None:
    """Create everything; what an interrupted submission made from the same spec is adopted.

    The PipelineRuns come last, and of each lane the first part after the later ones, which wait:
    so a lane that has begun finds all that it goes on with.

    Raises:
        ClusterFault: the cluster refused something; it names the object.
    """
    ensure_account(cluster, compiled.settings, compiled.account_and_roles)
    _create(cluster, [*([compiled.claim] if compiled.claim else []), *compiled.stepactions])
    for each in compiled.carried:  # one that stands is the same, but for its expiry
        cluster.apply(each)
    _create(cluster, compiled.tasks)
    _create(cluster, [part for lane in compiled.pipelineruns for part in lane[1:]])
    _create(cluster, [lane[0] for lane in compiled.pipelineruns])


def ensure_account(cluster: Cluster, settings: Settings, roles: Iterable[Object]) -> None:
    """Make the account of the steps and its rights, as far as they are not there yet.

    Of an account that stands, an experiment of another kind may need more, and so may a newer
    release; what we may not give it is left to whoever made it, and the step that lacks a right
    says which.

    Raises:
        ClusterFault: there is no account, and we have no right to make it.
    """
    stands = cluster.get(SERVICE_ACCOUNT, settings.account, settings.namespace) is not None
    for each in roles:
        try:
            if not stands or _lacks(cluster, each):
                cluster.apply(each)
        except Refused as error:
            if stands:
                continue
            raise Refused(
                f"the account of the steps, {settings.namespace}/{settings.account}, is not there, "
                f"and you may not make it ({error}); ask an administrator to apply roles.yaml "
                f"from: llmatrix tekton render FILE -o DIR",
                status=error.status,
                reason=error.reason,
            ) from None


def _lacks(cluster: Cluster, wanted: Object) -> bool:
    """Tell whether an object is not there, or is ours and was made from something else."""
    metadata = wanted["metadata"]
    found = cluster.get(cluster.kind_of(wanted), metadata["name"], metadata.get("namespace"))
    if found is None:
        return True
    made_from = (found["metadata"].get("annotations") or {}).get(labels.SPEC)
    return labels.ours(found) and made_from != metadata["annotations"][labels.SPEC]


def _create(cluster: Cluster, objects: Iterable[Object]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        made = [threads.submit(created_or_same, cluster, each, labels.SPEC) for each in objects]
        for each in made:
            each.result()


def check_namespace(cluster: Cluster, home: str) -> None:
    """Refuse a namespace that is not there.

    Raises:
        ClusterFault: it is not; nothing was created.
    """
    try:
        found = cluster.get(NAMESPACE, home)
    except Refused:
        return  # an account may work in a namespace that it may not look at
    if found is None:
        raise ClusterFault(
            f"there is no namespace {home}; make it with: kubectl create namespace {home}"
        )
