"""The rights of the people who submit, follow, collect and cancel; bound by whoever knows them.

Applying the account of the steps and its rights (``roles``) is not among them: that is done once,
by somebody who holds those rights.
"""

from __future__ import annotations

from typing import Final

from llmatrix.cluster.kinds import (
    CLUSTER_ROLE,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    LEASE,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    ROLE,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    STEP_ACTION,
    TASK,
    TASK_RUN,
    Object,
)
from llmatrix.engines.tekton.objects import hashed, made
from llmatrix.engines.tekton.roles import Rules, rule
from llmatrix.engines.tekton.settings import Settings

SUBMITTER: Final = "llmatrix-submitter"
"""Role, and in the mode with a namespace for each lane ClusterRole, of these people."""

AT_HOME: Final[Rules] = [
    rule(STEP_ACTION, "get", "list", "create", "delete"),
    rule(TASK, "get", "list", "create", "delete"),
    rule(PIPELINE_RUN, "get", "list", "watch", "create", "patch", "delete"),
    rule(TASK_RUN, "get", "list", "watch"),
    rule(SERVICE_ACCOUNT, "get"),
    rule(PERSISTENT_VOLUME_CLAIM, "get", "list", "create", "delete"),
    # Logs; and the pod that hands out the records of a claim.
    rule(POD, "get", "list", "create", "delete"),
    {"apiGroups": [""], "resources": ["pods/log", "pods/proxy"], "verbs": ["get"]},
    rule(EVENT, "list"),
    # Sites that lie in this namespace, when they are removed from outside.
    rule(STATEFUL_SET, "get", "list", "delete"),
    rule(DEPLOYMENT, "get", "list", "delete"),
    rule(SERVICE, "get", "list", "delete"),
    # Also those that carry the manifests of charts, which are made and whose expiry is put off.
    rule(CONFIG_MAP, "get", "list", "create", "patch", "delete"),
    rule(LEASE, "get", "list", "delete"),
]
"""In the namespace of the PipelineRuns."""

OF_SITES: Final[Rules] = [rule(NAMESPACE, "get", "list", "delete")]
"""In the cluster, where each lane has a namespace of its own: to find and remove those left."""


def submitter(settings: Settings) -> list[Object]:
    """Make the roles; nobody is bound to them."""
    home = made(ROLE, SUBMITTER, settings.namespace, spec=hashed(AT_HOME))
    objects = [{**home, "rules": AT_HOME}]
    if not settings.namespaced:
        sites = made(CLUSTER_ROLE, SUBMITTER, None, spec=hashed(OF_SITES))
        objects.append({**sites, "rules": OF_SITES})
    return objects
