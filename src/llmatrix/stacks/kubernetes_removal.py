"""Removal of objects by their labels, seen to be gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.facts import GATEWAY
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LEADER_WORKER_SET,
    POD,
    SERVICE,
    STATEFUL_SET,
    Kind,
    Object,
)
from llmatrix.plan.step import Step
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.waiting import until

GOES_S: Final = 90.0
"""Seconds for the objects of a site to go."""
USUAL: Final = (STATEFUL_SET, DEPLOYMENT, POD, SERVICE, CONFIG_MAP)
"""Kinds that any stack makes, owners before what they own; others are on the site's record."""
RUNNING: Final = (LEADER_WORKER_SET, STATEFUL_SET, DEPLOYMENT, JOB, GATEWAY)
"""Kinds that run pods of their own, a Gateway by its controller: made anew, never changed in place,
so that nothing that ran before a step was applied runs after it, and the accelerators of the old
are free for the new."""
_EVERY_S: Final = 0.25


def remove_site(cluster: Cluster, address: SiteAddress, others: Iterable[Kind]) -> list[str]:
    """Remove everything of a site from the namespace that it shares, its own record last.

    What carries no step is not of a site, though it may be of the same run: a pod of Tekton's.

    Returns:
        What could not be removed, in words.
    """
    every = {labels.SITE: address.name, labels.STEP: None}
    kinds = [*others, *USUAL]
    left = remove_all(cluster, address.namespace, every, kinds, spare=_is_record)
    if left:
        return left
    record = {labels.SITE: address.name, labels.STEP: Step.NAMESPACE.value}
    return remove_all(cluster, address.namespace, record, [CONFIG_MAP])


def remove_all(
    cluster: Cluster,
    namespace: str,
    selection: Mapping[str, str | None],
    kinds: Sequence[Kind],
    *,
    spare: Callable[[Object], bool] = lambda _: False,
    wait_s: float = GOES_S,
    stop: threading.Event | None = None,
) -> list[str]:
    """Remove all objects of these kinds with these labels, and wait until they are gone.

    Objects that one of them owns go with it; with ``wait_s`` 0 nothing is waited for.

    Returns:
        What could not be removed, in words.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    refused: dict[Kind, str] = {}

    def standing() -> list[Object]:
        asked = [kind for kind in kinds if kind not in refused]
        found = [each for kind in asked for each in _find(cluster, namespace, selection, kind)]
        return [each for each in found if not spare(each)]

    for kind in kinds:
        try:
            for each in _find(cluster, namespace, selection, kind):
                if not (spare(each) or _goes_by_itself(each)):
                    metadata = each["metadata"]
                    cluster.delete(kind, metadata["name"], namespace, uid=metadata["uid"])
        except Refused as error:
            refused[kind] = str(error)
    left: list[Object] = []

    def gone() -> bool:
        left[:] = standing()
        return not left

    if wait_s > 0:
        until(gone, wait_s, stop=stop, every_s=_EVERY_S)
    return [*map(_told, left), *refused.values()]


def _is_record(each: Object) -> bool:
    return bool(each["metadata"]["labels"][labels.STEP] == Step.NAMESPACE.value)


def _goes_by_itself(each: Object) -> bool:
    """Tell whether an object is on its way out, or goes with the one that owns it."""
    metadata = each["metadata"]
    owners = metadata.get("ownerReferences") or ()
    return "deletionTimestamp" in metadata or any(owner.get("controller") for owner in owners)


def _find(
    cluster: Cluster, namespace: str, selection: Mapping[str, str | None], kind: Kind
) -> list[Object]:
    try:
        return cluster.find(kind, namespace, selection)
    except ClusterFault as error:
        if error.status == HTTPStatus.NOT_FOUND:  # its definition is gone, and they with it
            return []
        raise


def _told(each: Object) -> str:
    metadata = each["metadata"]
    where = f"{each['kind']} {metadata['namespace']}/{metadata['name']}"
    if finalizers := metadata.get("finalizers"):
        return f"{where} (held by its finalizers: {', '.join(finalizers)})"
    return f"{where} (still there after {GOES_S:g} s)"
