"""Parts of pods that fit everywhere, also under the restricted Pod Security Standard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmatrix.cluster.kinds import Object
from llmatrix.cluster.users import USER


def pod(
    containers: Sequence[Object],
    *,
    volumes: Sequence[Object] = (),
    grace_s: int = 5,
) -> Object:
    """Give the spec of a pod that speaks to no API server, runs as nobody, and writes to /tmp only.

    ``grace_s``: seconds that it has to end when it is told to.
    """
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }


def container(
    name: str,
    command: Sequence[str],
    *,
    image: str,
    pull_policy: str,
    port: int,
    requests: Mapping[str, str],
    mounts: Sequence[Object] = (),
    more: Mapping[str, Any] | None = None,
) -> Object:
    """Give a container that listens at ``port`` and answers 200 at /health once it is ready."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": list(command),
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": port},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            # Once ready, one that is slow under load shall not be taken out of its service.
            "failureThreshold": 60,
        },
        "resources": {"requests": dict(requests)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108
        **(more or {}),
    }


def service(name: str, selector: Mapping[str, str], port: int, *, headless: bool = False) -> Object:
    """Give a service for the pods with these labels, at the port they listen on."""
    spec: Object = {
        "selector": dict(selector),
        "ports": [{"name": "http", "port": port, "targetPort": port}],
    }
    if headless:
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
