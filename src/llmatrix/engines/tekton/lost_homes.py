"""ClusterRoleBindings of home namespaces that are gone.

Everything else that llmatrix makes lies in a namespace and goes with it. These lie in none, and
give rights in the cluster to an account of a namespace: to anybody who makes one of that name.
The ClusterRoles that they bind are few, and shared by all home namespaces.
"""

from __future__ import annotations

from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    SERVICE_ACCOUNT,
    Object,
)
from llmatrix.engines.tekton.roles import SITES_ROLE

UNTOLD: Final = (
    "you may not list ClusterRoleBindings and read namespaces in the whole cluster, so those of "
    "home namespaces that were deleted are left to an administrator's `llmatrix gc --cluster`"
)


def lost_bindings(cluster: Cluster) -> tuple[list[Object], str]:
    """Give the bindings of which no home namespace is left; or say that they cannot be told.

    They are looked at before the namespaces, which are there before anything is bound for them.

    Raises:
        ClusterFault: the cluster cannot be reached.
    """
    try:
        found = cluster.find(CLUSTER_ROLE_BINDING, None, {labels.MANAGED_BY: labels.OURS})
        homes = {home for each in found for home in homes_of(each)}
        gone = {home for home in homes if cluster.metadata(NAMESPACE, home) is None}
    except Refused:
        return [], UNTOLD
    return [each for each in found if (of := homes_of(each)) and of <= gone], ""


def homes_of(binding: Object) -> frozenset[str]:
    """Give the home namespaces that a binding is for; none if we did not make it, or not as it is.

    One that somebody has bound to anybody else, too, is no longer only ours.
    """
    role, subjects = binding["roleRef"], binding.get("subjects") or ()
    of_sites = role["name"] == SITES_ROLE or role["name"].startswith(f"{SITES_ROLE}-")
    if not labels.ours(binding) or role["kind"] != CLUSTER_ROLE.name or not of_sites:
        return frozenset()
    if any(each["kind"] != SERVICE_ACCOUNT.name for each in subjects):
        return frozenset()
    return frozenset(each["namespace"] for each in subjects)
