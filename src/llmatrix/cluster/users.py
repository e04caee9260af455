"""Whom containers run as: our image's user, unless the cluster gives each namespace its own."""

from __future__ import annotations

from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.discovery import serves
from llmatrix.cluster.facts import SECURITY_CONTEXT_CONSTRAINTS
from llmatrix.cluster.kinds import Object

USER: Final = 65532
"""Whom our image runs as."""
_ASKED: Final = ("runAsUser", "runAsGroup", "fsGroup")


def chosen_by(cluster: Cluster) -> bool:
    """Tell whether the cluster chooses users and groups, as OpenShift does.

    There, a pod that asks for one outside of its namespace's range is refused.

    Raises:
        ClusterFault: it does not answer.
    """
    return serves(cluster, SECURITY_CONTEXT_CONSTRAINTS)


def left_to_the_cluster(spec: Object) -> Object:
    """Give the spec of a pod without the user that we ask for; one of somebody else's choice stays.

    That it must not be root is still asked.
    """
    fitted = dict(spec)
    if "securityContext" in spec:
        fitted["securityContext"] = _without(spec["securityContext"])
    for part in ("initContainers", "containers"):
        if part in spec:
            fitted[part] = [_fitted(each) for each in spec[part]]
    return fitted


def _fitted(container: Object) -> Object:
    context = container.get("securityContext")
    return container if context is None else {**container, "securityContext": _without(context)}


def _without(context: Object) -> Object:
    return {key: value for key, value in context.items() if key not in _ASKED or value != USER}
