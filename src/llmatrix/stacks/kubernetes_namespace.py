"""The namespace that a site has to itself: made, adopted if it is ours, and removed for certain."""

from __future__ import annotations

import threading
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import AlreadyThere
from llmatrix.cluster.kinds import CLUSTER_ROLE, NAMESPACE, ROLE_BINDING, Object
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.stacks.kubernetes_removal import RUNNING, remove_all
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.waiting import until

GOES_S: Final = 120.0
"""Seconds for a namespace to go with all that is in it."""
_EVERY_S: Final = 0.5


def is_of(found: Object, address: SiteAddress) -> bool:
    """Tell whether llmatrix made a namespace, for this very site."""
    marks = found["metadata"].get("labels") or {}
    return labels.ours(found) and marks.get(labels.SITE) == address.name


def stands(cluster: Cluster, address: SiteAddress) -> bool:
    """Tell whether the site's namespace is there, is ours and is not on its way out."""
    found = cluster.get(NAMESPACE, address.namespace)
    return found is not None and is_of(found, address) and not _goes(found)


def make(cluster: Cluster, address: SiteAddress, stop: threading.Event) -> None:
    """Make the namespace, or take over the one that stands if it is this site's.

    Raises:
        StepFailure: class ``user`` where somebody else's has that name: it is left alone; class
            ``environment`` where one that is on its way out does not go.
        Stopped: ``stop`` was set meanwhile.
    """
    wanted = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": address.namespace, "labels": address.labels()},
    }
    found = cluster.get(NAMESPACE, address.namespace)
    if found is not None and is_of(found, address) and _goes(found):
        left = gone(cluster, address, stop)
        if left:
            raise StepFailure(f"{left}.", FailureClass.ENVIRONMENT)
        found = None
    if found is None:
        try:
            cluster.create(wanted)
        except AlreadyThere:
            found = cluster.get(NAMESPACE, address.namespace)
    if found is None:
        return
    if not is_of(found, address):
        raise StepFailure(
            f"namespace {address.namespace} is there and is not of this site: it is left alone. "
            f"Remove it, or give the experiment another name.",
            FailureClass.USER,
        )
    marks = found["metadata"]["labels"]
    if any(marks.get(name) != value for name, value in address.labels().items()):
        cluster.merge(NAMESPACE, address.namespace, None, {"metadata": wanted["metadata"]})


def bind(cluster: Cluster, address: SiteAddress, role: str, name: str = "llmatrix") -> None:
    """Give the account of the steps the rights of a site in the site's namespace."""
    cluster.apply(
        {
            "apiVersion": ROLE_BINDING.api_version,
            "kind": ROLE_BINDING.name,
            "metadata": {
                "name": name,
                "namespace": address.namespace,
                "labels": address.labels(),
            },
            "roleRef": {"apiGroup": CLUSTER_ROLE.group, "kind": CLUSTER_ROLE.name, "name": role},
            "subjects": [
                {"kind": "ServiceAccount", "name": address.account, "namespace": address.home}
            ],
        }
    )


def remove(cluster: Cluster, address: SiteAddress) -> list[str]:
    """Remove the namespace with all that is in it, if it is this site's, and see it go.

    Returns:
        What could not be removed, in words.
    """
    found = cluster.get(NAMESPACE, address.namespace)
    if found is None or not is_of(found, address):
        return []
    cluster.delete(NAMESPACE, address.namespace, uid=found["metadata"]["uid"])
    # The controller of namespaces first looks after 5 s, and again only seconds after that where
    # pods are still on their way out.
    remove_all(cluster, address.namespace, {labels.SITE: address.name}, RUNNING, wait_s=0)
    left = gone(cluster, address, threading.Event())
    return [left] if left else []


def gone(cluster: Cluster, address: SiteAddress, stop: threading.Event) -> str:
    """Wait until the namespace is gone; say what holds it if it does not go.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    last: list[Object] = []

    def absent() -> bool:
        found = cluster.get(NAMESPACE, address.namespace)
        last[:] = [] if found is None else [found]
        return found is None

    if until(absent, GOES_S, stop=stop, every_s=_EVERY_S):
        return ""
    held = holders(last[0]) or "it does not say why"
    return f"namespace {address.namespace} does not go within {GOES_S:g} s ({held})"


def holders(found: Object) -> str:
    """Say what keeps a namespace from going, as the namespace controller tells it."""
    conditions = found.get("status", {}).get("conditions") or ()
    telling = [each for each in conditions if each.get("status") == "True"]
    return "; ".join(" ".join(str(each.get("message", "")).split()) for each in telling)


def _goes(found: Object) -> bool:
    return "deletionTimestamp" in found["metadata"]
