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
    JOB,
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
from llmatrix.engines.tekton.roles import Rules, more_kinds, rule
from llmatrix.engines.tekton.settings import Settings
from llmatrix.stacks.site_rights import to_remove

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
    rule(JOB, "get", "list", "delete"),
    rule(SERVICE, "get", "list", "delete"),
    rule(CONFIG_MAP, "get", "list", "delete"),
    rule(LEASE, "get", "list", "delete"),
]
"""In the namespace of the PipelineRuns, whatever the stacks."""

TO_CARRY: Final[Rules] = [rule(CONFIG_MAP, "create", "patch")]
"""Besides, where something is carried there: it is made, and its expiry put off."""

OF_SITES: Final[Rules] = [rule(NAMESPACE, "get", "list", "delete")]
"""In the cluster, where each lane has a namespace of its own: to find and remove those left."""


def at_home(settings: Settings) -> Rules:
    """Give the rules in the namespace of the PipelineRuns, for what its sites are made of."""
    kinds = more_kinds(settings) if settings.namespaced else []
    return [
        *AT_HOME,
        *(TO_CARRY if settings.carries else ()),
        *(rule for kind in kinds for rule in to_remove(kind)),
    ]


def submitter(settings: Settings) -> list[Object]:
    """Make the roles; nobody is bound to them."""
    rules = at_home(settings)
    home = made(ROLE, SUBMITTER, settings.namespace, spec=hashed(rules))
    objects = [{**home, "rules": rules}]
    if not settings.namespaced:
        sites = made(CLUSTER_ROLE, SUBMITTER, None, spec=hashed(OF_SITES))
        objects.append({**sites, "rules": OF_SITES})
    return objects
