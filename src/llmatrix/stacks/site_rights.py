"""The rights that the account of the steps needs for a site on Kubernetes, as plain data.

Rules as RBAC writes them. ``ON_SITE`` are those in the site's namespace: of a Role there
(namespaced), or of the ClusterRole ``SITE_ROLE`` that step 1 binds to the account in a namespace
of the site's own. ``OF_NAMESPACES`` are those in the whole cluster that only the latter needs.
``MORE_ON_SITE`` are those that only some kinds of stack need, each in a role of its own.
"""

from __future__ import annotations

from typing import Any, Final

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
        "apiGroups": ["inference.networking.x-k8s.io"],
        "resources": ["inferenceobjectives"],
        "verbs": ["get", "list", "watch"],
    },
]
"""What an endpoint picker reads in its namespace."""

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
    ]
}
"""By kind of stack, what it needs on a site beyond ``ON_SITE``."""


def role_of(kind: str, site_role: str = SITE_ROLE) -> str:
    """Name the ClusterRole with what a kind of stack needs on a site beyond ``ON_SITE``."""
    return f"{site_role}-{kind}"


def to_bind(kind: str, site_role: str = SITE_ROLE) -> list[dict[str, Any]]:
    """Give the rule in the whole cluster that step 1 needs to bind a kind's own role on a site."""
    return [
        {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"],
            "resourceNames": [role_of(kind, site_role)],
            "verbs": ["bind"],
        }
    ]


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
