"""What all objects of the engine share: their metadata, their hashes, their containers' rights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.cluster.naming import short_hash
from llmatrix.cluster.users import USER
from llmatrix.engines.tekton.settings import Settings
from llmatrix.plan.digest import canonical
from llmatrix.spec.cluster import SecretKey

WORK: Final = "/llmatrix"
"""Where the steps of a trial hand things to one another."""
PROGRAM: Final = ["llmatrix"]
"""Said in full, so that no registry is asked for the image's entrypoint."""
_TINY_MEMORY: Final = "32Mi"


def made(
    kind: Kind,
    name: str,
    namespace: str | None,
    *,
    spec: str,
    extra: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Begin an object: its kind, name, labels, and the hash of what was asked for."""
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata["labels"] = {labels.MANAGED_BY: labels.OURS, **(extra or {})}
    metadata["annotations"] = {labels.SPEC: spec, **(annotations or {})}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def hashed(document: Any) -> str:
    """Hash plain data, whatever the order of its keys."""
    return short_hash(canonical(document))


def by_content(kind: Kind, stem: str, namespace: str, spec: Mapping[str, Any]) -> Object:
    """Make an object whose name holds the hash of its spec.

    Another version, or another experiment, then never changes it under a run that uses it.
    """
    digest = hashed(spec)
    document = made(kind, f"{stem}-{digest}", namespace, spec=digest)
    return {**document, "spec": dict(spec)}


def security(settings: Settings) -> dict[str, Any]:
    """Give what the ``restricted`` Pod Security Standard asks of a container, and a bit more.

    OpenShift gives every namespace its own users; there, none is asked for.
    """
    user = {} if settings.openshift else {"runAsUser": USER, "runAsGroup": USER}
    return {
        "runAsNonRoot": True,
        **user,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def environment(env: Mapping[str, str | SecretKey]) -> list[dict[str, Any]]:
    """Give variables to a container: values as they are, secrets by name only."""
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
        if isinstance(value, SecretKey)
        # Kubernetes takes `$$` for one `$`, and one `$` for the beginning of a reference.
        else {"name": name, "value": value.replace("$", "$$")}
        for name, value in env.items()
    ]


def template(settings: Settings) -> dict[str, Any]:
    """Give what every step has: folders that it may write to, and the policy for its image."""
    return {
        "imagePullPolicy": settings.pull_policy,
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - a volume of the pod's own
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def volumes() -> list[dict[str, Any]]:
    """Give the volumes that ``template`` mounts."""
    return [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]


def requests(settings: Settings, *, measures: bool) -> dict[str, Any]:
    """Give what a step asks for; the one that measures holds the pod's share."""
    if measures:
        return {"requests": {"cpu": settings.cpu, "memory": settings.memory}}
    return {"requests": {"cpu": f"{tiny_millicores(settings)}m", "memory": _TINY_MEMORY}}


def tiny_millicores(settings: Settings) -> int:
    """Give the CPU that each step asks for but the one that measures.

    A matrix starts its pods all at once. What those that wait ask for is room that the stack of the
    one whose turn it is does not find, and 36 pods of eight steps fill a node.
    """
    return 1 if settings.fresh else 10
