"""The account of the steps and its rights: no more than what the steps do.

Two modes. With a namespace for each lane, the account may make and remove namespaces, and binds
itself to ``llmatrix-site`` in each that it makes. *Namespaced*, it has the same rules in the one
namespace of the PipelineRuns, and no right in the cluster at all.
"""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    LEASE,
    PIPELINE_RUN,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
    Object,
)
from llmatrix.cluster.naming import dns_name
from llmatrix.engines.tekton.objects import hashed, made
from llmatrix.engines.tekton.settings import Settings
from llmatrix.stacks.site_rights import (
    MORE_ON_SITE,
    OF_NAMESPACES,
    ON_SITE,
    SITE_ROLE,
    in_cluster,
    role_of,
)

SITES_ROLE: Final = "llmatrix-sites"
"""ClusterRole that lets the account make and remove the namespaces of its sites."""
Rules = list[dict[str, Any]]


def rule(kind: Kind, *verbs: str) -> dict[str, Any]:
    """Write one rule."""
    return {"apiGroups": [kind.group], "resources": [kind.plural], "verbs": list(verbs)}


AT_HOME: Final[Rules] = [
    # The close of a lane reads its own PipelineRun, and lets the next one go.
    rule(PIPELINE_RUN, "get", "patch"),
    # Trials with sites of their own take a slot before they make one.
    rule(LEASE, "get", "create", "update", "delete"),
    # Whether the pod that holds a slot still runs.
    rule(POD, "get"),
]
"""What the steps do in the namespace of the PipelineRuns, in either mode."""

OF_CARRIED: Final[Rules] = [rule(CONFIG_MAP, "get")]
"""Besides, where something is carried there; on a site in that namespace they have it already."""


def account_and_roles(settings: Settings) -> list[Object]:
    """Make the account of the steps, and what gives it its rights."""
    account, home = settings.account, settings.namespace
    made_here: list[Object] = [
        _with_hash(SERVICE_ACCOUNT, account, home, {}),
        _role(ROLE, account, home, AT_HOME),
        _binding(ROLE_BINDING, account, settings, role=(ROLE, account)),
        *(each for name in sorted(settings.tokens) for each in _to_read(settings, name)),
    ]
    if settings.namespaced:
        name = f"{account}-site"
        return [
            *made_here,
            _role(ROLE, name, home, ON_SITE),
            _binding(ROLE_BINDING, name, settings, role=(ROLE, name)),
            *(each for kind in more_kinds(settings) for each in _more_at_home(settings, kind)),
        ]
    name = dns_name(SITES_ROLE, home, account)
    return [
        *made_here,
        _role(CLUSTER_ROLE, SITE_ROLE, None, ON_SITE),
        _role(CLUSTER_ROLE, SITES_ROLE, None, OF_NAMESPACES),
        _binding(CLUSTER_ROLE_BINDING, name, settings, role=(CLUSTER_ROLE, SITES_ROLE)),
        *(_to_read_carried(settings) if settings.carries else ()),
        *(each for kind in more_kinds(settings) for each in _more_in_cluster(settings, kind)),
    ]


def more_kinds(settings: Settings) -> list[str]:
    """Give the kinds of stack of the experiment that need more rights on a site than any."""
    return sorted(settings.kinds & set(MORE_ON_SITE))


def of_token(name: str) -> Rules:
    """Give what the steps do with a secret of the home namespace that they bring to sites."""
    return [{**rule(SECRET, "get"), "resourceNames": [name]}]


def _to_read(settings: Settings, secret: str) -> list[Object]:
    name = dns_name(settings.account, "token", secret)
    return [
        _role(ROLE, name, settings.namespace, of_token(secret)),
        _binding(ROLE_BINDING, name, settings, role=(ROLE, name)),
    ]


def _to_read_carried(settings: Settings) -> list[Object]:
    name = dns_name(settings.account, "carried")
    return [
        _role(ROLE, name, settings.namespace, OF_CARRIED),
        _binding(ROLE_BINDING, name, settings, role=(ROLE, name)),
    ]


def _more_at_home(settings: Settings, kind: str) -> list[Object]:
    """Make roles beside the usual ones, so that experiments without the kind do not have them."""
    name = dns_name(settings.account, "site", kind)
    return [
        _role(ROLE, name, settings.namespace, MORE_ON_SITE[kind]),
        _binding(ROLE_BINDING, name, settings, role=(ROLE, name)),
    ]


def _more_in_cluster(settings: Settings, kind: str) -> list[Object]:
    role = f"{SITES_ROLE}-{kind}"
    name = dns_name(SITES_ROLE, settings.namespace, settings.account, kind)
    return [
        _role(CLUSTER_ROLE, role_of(kind), None, MORE_ON_SITE[kind]),
        _role(CLUSTER_ROLE, role, None, in_cluster(kind)),
        _binding(CLUSTER_ROLE_BINDING, name, settings, role=(CLUSTER_ROLE, role)),
    ]


def _role(kind: Kind, name: str, namespace: str | None, rules: Rules) -> Object:
    return _with_hash(kind, name, namespace, {"rules": rules})


def _binding(kind: Kind, name: str, settings: Settings, *, role: tuple[Kind, str]) -> Object:
    content = {
        "roleRef": {"apiGroup": role[0].group, "kind": role[0].name, "name": role[1]},
        "subjects": [
            {
                "kind": SERVICE_ACCOUNT.name,
                "name": settings.account,
                "namespace": settings.namespace,
            }
        ],
    }
    return _with_hash(kind, name, settings.namespace if kind.namespaced else None, content)


def _with_hash(kind: Kind, name: str, namespace: str | None, content: dict[str, Any]) -> Object:
    return {**made(kind, name, namespace, spec=hashed(content)), **content}
