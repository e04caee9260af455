"""The rights that the account of the steps needs for a site on Kubernetes, as plain data.

Rules as RBAC writes them. ``ON_SITE`` are those in the site's namespace: of a Role there
(namespaced), or of the ClusterRole ``SITE_ROLE`` that step 1 binds to the account in a namespace
of the site's own. ``OF_NAMESPACES`` are those in the whole cluster that only the latter needs.
``MORE_ON_SITE`` are those that only some kinds of stack need, each in a role of its own.
"""

from __future__ import annotations

from typing import Any, Final

from llmatrix.spec.llmd import LlmdGateway, LlmdStack
from llmatrix.spec.stacks import Stack

SITE_ROLE: Final = "llmatrix-site"
"""ClusterRole with the rules of ``ON_SITE``; step 1 binds it in namespaces that it makes."""

_MADE: Final = ["list", "create", "patch", "delete"]
"""An apply of something new is a patch and a create."""

ON_SITE: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "resources": ["configmaps", "services"], "verbs": ["get", *_MADE]},
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": _MADE},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
]

OF_A_PICKER: Final[list[dict[str, Any]]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": ["inference.networking.k8s.io"],
        "resources": ["inferencepools"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["inference.networking.x-k8s.io", "llm-d.ai"],
        "resources": ["inferenceobjectives", "inferencemodelrewrites"],
        "verbs": ["get", "list", "watch"],
    },
]
"""What an endpoint picker reads in its namespace; one that may not read a kind is never ready."""

TOKEN_KIND: Final = "llm-d-token"  # noqa: S105 - the name of a role
"""Not a kind of stack, but held apart like one: what brings a token to a site's own namespace."""

MORE_ON_SITE: Final[dict[str, list[dict[str, Any]]]] = {
    "llm-d": [
        # Nobody may give away what he does not have: the picker's rights, that step 3 gives it.
        *OF_A_PICKER,
        {
            "apiGroups": ["inference.networking.k8s.io"],
            "resources": ["inferencepools"],
            "verbs": _MADE,
        },
        {
            "apiGroups": ["leaderworkerset.x-k8s.io"],
            "resources": ["leaderworkersets"],
            "verbs": _MADE,
        },
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": _MADE},
        {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["roles", "rolebindings"],
            "verbs": _MADE,
        },
        # The download of a model, and the claim that it goes to.
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": _MADE},
        {
            "apiGroups": [""],
            "resources": ["persistentvolumeclaims"],
            "verbs": ["get", "create", "patch"],
        },
    ],
    "llm-d-gateway": [
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["gateways", "httproutes"],
            "verbs": ["get", *_MADE],
        },
    ],
    "llm-d-envoy-gateway": [
        {
            "apiGroups": ["gateway.envoyproxy.io"],
            "resources": ["backends", "envoyextensionpolicies", "envoypatchpolicies"],
            "verbs": ["get", *_MADE],
        },
    ],
    "llm-d-istio": [
        {
            "apiGroups": ["networking.istio.io"],
            "resources": ["destinationrules"],
            "verbs": ["get", *_MADE],
        },
    ],
    "llm-d-gke": [
        {
            "apiGroups": ["networking.gke.io"],
            "resources": ["healthcheckpolicies", "gcpbackendpolicies"],
            "verbs": ["get", *_MADE],
        },
    ],
    # In a namespace that holds no secret but the one that is brought there.
    TOKEN_KIND: [{"apiGroups": [""], "resources": ["secrets"], "verbs": _MADE}],
}
"""By kind of stack, or by a way in which one is used, what it needs beyond ``ON_SITE``."""


def needs(stack: Stack) -> frozenset[str]:
    """Name all that a stack needs of ``MORE_ON_SITE``, and its kind in any case."""
    more = of_gateway(stack.gateway) if isinstance(stack, LlmdStack) else ()
    return frozenset({stack.kind, *more})


def of_gateway(layer: LlmdGateway) -> list[str]:
    """Name what a gateway layer needs of ``MORE_ON_SITE``."""
    if layer.mode != "gateway":
        return []
    of_class = f"llm-d-{layer.support}"
    return ["llm-d-gateway", *([of_class] if of_class in MORE_ON_SITE else [])]


def to_remove(kind: str) -> list[dict[str, Any]]:
    """Give the rules by which people find and remove what a kind's steps made on a site."""
    return [
        rule | {"verbs": ["get", "list", "delete"]}
        for rule in MORE_ON_SITE[kind]
        if "delete" in rule["verbs"]
    ]


def role_of(kind: str, site_role: str = SITE_ROLE) -> str:
    """Name the ClusterRole with what is needed on a site beyond ``ON_SITE``."""
    return f"{site_role}-{kind}"


def in_cluster(kind: str, site_role: str = SITE_ROLE) -> list[dict[str, Any]]:
    """Give the rules in the whole cluster for what sites with their own namespaces need.

    Step 1 must be able to bind the kind's own role there, and a Gateway's proxy is in a namespace
    that only its controller knows.
    """
    return [
        {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"],
            "resourceNames": [role_of(kind, site_role)],
            "verbs": ["bind"],
        },
        *MORE_IN_CLUSTER.get(kind, []),
    ]


MORE_IN_CLUSTER: Final[dict[str, list[dict[str, Any]]]] = {
    "llm-d-envoy-gateway": [
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"]}
    ],
}
"""What is looked at in the whole cluster, to see that it is gone."""


OF_NAMESPACES: Final[list[dict[str, Any]]] = [
    {
        "apiGroups": [""],
        "resources": ["namespaces"],
        "verbs": ["get", "create", "patch", "delete"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["rolebindings"],
        "verbs": ["create", "patch"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "resourceNames": [SITE_ROLE],
        "verbs": ["bind"],
    },
]
