"""The rights that the account of the steps needs for a site on Kubernetes, as plain data.

Rules as RBAC writes them. ``ON_SITE`` are those in the site's namespace: of a Role there
(namespaced), or of the ClusterRole ``SITE_ROLE`` that step 1 binds to the account in a namespace
of the site's own. ``OF_NAMESPACES`` are those in the whole cluster that only the latter needs.
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
