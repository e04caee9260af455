"""The objects of an llm-d stack, as they were seen to work: servers, pool and picker.

Built for the tests of the parts; every setting that is not plain is told beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

Object = dict[str, Any]
PORT: Final = 8000
"""Where a model server listens."""
METRICS: Final[Mapping[str, Mapping[str, str]]] = {
    # Its default for the cache, vllm:gpu_cache_usage_perc, is a name that vLLM has given up.
    "vllm": {
        "total-queued-requests-metric": "vllm:num_requests_waiting",
        "kv-cache-usage-percentage-metric": "vllm:kv_cache_usage_perc",
        "cache-info-metric": "vllm:cache_config_info",
        "lora-info-metric": "",
    },
    # It tells no usage of its cache and nothing of its size: empty is "do not look".
    "llama-cpp": {
        "total-queued-requests-metric": "llamacpp:requests_deferred",
        "kv-cache-usage-percentage-metric": "",
        "cache-info-metric": "",
        "lora-info-metric": "",
    },
}
"""Flags of the picker by the kind of server: the names of what it reads there."""
SCORERS: Final = {"queue-scorer": 2, "kv-cache-utilization-scorer": 2, "prefix-cache-scorer": 3}
"""The scorers of the chart's own configuration and their weights."""
RESTRICTED: Final = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
PICKER_GRPC: Final = 9002
_PICKER_HEALTH: Final = 9003
PICKER_METRICS: Final = 9090


def servers(name: str, image: str, command: Sequence[str], replicas: int) -> list[Object]:
    """Give model servers, and a Service for all of them."""
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
    container = {
        "name": "server",
        "image": image,
        "command": list(command),
        "ports": [{"containerPort": PORT}],
        "readinessProbe": probe,
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's
    }
    volumes = [{"name": "tmp", "emptyDir": {}}]
    pods = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return [deployment(name, pods, replicas=replicas), service(name, PORT)]


def pool(name: str, of: str, picker: str) -> Object:
    """Give the InferencePool of the servers ``of``, whose picker is a Service."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "targetPorts": [{"number": PORT}],
            "selector": {"matchLabels": {"app": of}},
            "endpointPickerRef": {"name": picker, "port": {"number": PICKER_GRPC}},
        },
    }


def picker_config(scorers: Mapping[str, int] = SCORERS) -> str:
    """Give the text of an EndpointPickerConfig of one profile of scorers."""
    return json.dumps(
        {
            "apiVersion": "inference.networking.x-k8s.io/v1alpha1",
            "kind": "EndpointPickerConfig",
            "plugins": [{"type": scorer} for scorer in scorers],
            "schedulingProfiles": [
                {
                    "name": "default",
                    "plugins": [{"pluginRef": one, "weight": n} for one, n in scorers.items()],
                }
            ],
        }
    )


def picker(
    name: str, image: str, namespace: str, pool: str, config: str, flags: Mapping[str, str]
) -> list[Object]:
    """Give a picker with the rights and the Service that it needs."""
    given = {
        "pool-name": pool,
        "pool-namespace": namespace,
        "config-file": "/config/picker.yaml",
        "metrics-endpoint-auth": "false",  # or a scrape needs a token and the picker more rights
        "tracing": "false",  # or it looks for a collector
        "zap-encoder": "json",
        **flags,
    }
    # Any name of a service will do; it serves once it knows the pool.
    probe = {"grpc": {"port": _PICKER_HEALTH, "service": "inference-extension"}}
    container = {
        "name": "epp",
        "image": image,
        # With "=": a flag that is true or false takes no second word.
        "args": [f"--{flag}={value}" for flag, value in given.items()],
        "ports": [{"containerPort": PICKER_GRPC}, {"containerPort": PICKER_METRICS}],
        "readinessProbe": {**probe, "periodSeconds": 1},
        # Why it ended is then in the pod's status, whatever becomes of the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }
    pods = {
        "serviceAccountName": name,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
        "terminationGracePeriodSeconds": 5,
    }
    return [
        *_rights(name),
        configuration(name, {"picker.yaml": config}),
        # Two would each know half of the requests.
        deployment(name, pods, strategy="Recreate"),
        service(name, PICKER_GRPC, PICKER_METRICS),
    ]


def _rights(name: str) -> list[Object]:
    """Give a service account that may see pools, objectives and pods of its namespace."""
    group = "rbac.authorization.k8s.io"
    read = {"verbs": ["get", "list", "watch"]}
    rules = [
        {"apiGroups": [""], "resources": ["pods"], **read},
        {
            "apiGroups": ["inference.networking.k8s.io"],
            "resources": ["inferencepools"],
            **read,
        },
        {
            "apiGroups": ["inference.networking.x-k8s.io"],
            "resources": ["inferenceobjectives"],
            **read,
        },
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    return [{**one, "metadata": {"name": name}} for one in (account, role, binding)]


def deployment(
    name: str, pods: Object, *, replicas: int = 1, strategy: str = "RollingUpdate"
) -> Object:
    """Give a Deployment whose pods carry the label ``app: NAME``."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": strategy},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pods},
        },
    }


def service(name: str, *ports: int) -> Object:
    """Give a Service for the pods labelled ``app: NAME``."""
    listed = [{"name": f"port-{port}", "port": port} for port in ports]
    spec = {"selector": {"app": name}, "ports": listed}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def configuration(name: str, files: Mapping[str, str]) -> Object:
    """Give a ConfigMap of files."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict(files),
    }
