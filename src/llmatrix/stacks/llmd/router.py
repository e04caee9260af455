"""The router layer: the endpoint picker of GAIE, its rights, its pool and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmatrix.cluster.kinds import ROLE, ROLE_BINDING, SERVICE_ACCOUNT, Object
from llmatrix.plan.step import Step
from llmatrix.spec.llmd import LlmdRouter, Plain
from llmatrix.stacks import kubernetes_parts
from llmatrix.stacks.llmd import names, picker_config, pods
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import OF_A_PICKER

METRICS: Final[Mapping[str, Mapping[str, str]]] = {
    # The picker's default for the cache, vllm:gpu_cache_usage_perc, is a name that vLLM gave up;
    # adapters are told of only by servers that have some.
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
"""Flags that name the servers' metrics, by the engine whose names they are."""
_READS: Final = ("total-queued-requests-metric", "kv-cache-usage-percentage-metric")
"""Of those, the ones that scorers go by."""
CONFIGURED: Final = "configured"
"""In the place of an engine: no such flags. Pickers from GAIE 1.4 and llm-d 0.7 on refuse them."""
_FOLDER: Final = "/etc/llmatrix"
_FILE: Final = "picker.yaml"
_ASKS: Final = {"cpu": "100m", "memory": "128Mi"}


def objects(layer: LlmdRouter, address: SiteAddress) -> list[Object]:
    """Give the objects of the layer.

    Raises:
        ValueError: it has no configuration.
    """
    if layer.config is None:
        raise ValueError("a picker has a configuration")
    name, mark = names.picker(address), names.marks(address, Step.ROUTER)
    return [
        *_rights(name, address.namespace),
        pods.config_map(name, {_FILE: layer.config.text}),
        _pool(name, address),
        _service(name, mark),
        pods.deployment(name, mark, _pod(layer, name, address)),
    ]


def told(layer: LlmdRouter) -> str:
    """Give whose metric names the picker's flags give it, or that its configuration does."""
    if layer.metrics is not None:
        return layer.metrics
    late = layer.config is not None and picker_config.is_late(layer.config)
    return CONFIGURED if late else "vllm"


def flags(layer: LlmdRouter, pool: str, namespace: str) -> dict[str, Plain]:
    """Give the picker's flags; those of the user win."""
    return {
        "pool-name": pool,
        "pool-namespace": namespace,
        "config-file": f"{_FOLDER}/{_FILE}",
        "metrics-endpoint-auth": False,  # or a scrape needs a token and the picker more rights
        "tracing": False,  # or it looks for a collector
        "zap-encoder": "json",
        "v": 1,
        **METRICS.get(told(layer), {}),
        **layer.flags,
    }


def advice(log: str) -> str:
    """Say what helps against what a picker that ended has logged last; "" where nobody knows."""
    if "is deprecated and cannot be used; configure metrics" in log:
        return "It knows metrics by its configuration: set stack.router.metrics: configured."
    return ""


def reads(layer: LlmdRouter) -> list[str]:
    """Give the names of the servers' metrics that scorers go by."""
    engine = told(layer)
    if engine == CONFIGURED:
        read = [*picker_config.reads(layer.config)] if layer.config is not None else []
    else:
        given = {**METRICS[engine], **layer.flags}
        read = [str(given[flag]) for flag in _READS]
    return [name for each in read if (name := each.partition("{")[0])]


def _pod(layer: LlmdRouter, name: str, address: SiteAddress) -> Object:
    given = flags(layer, name, address.namespace)
    container = kubernetes_parts.container(
        "picker",
        [],
        image=layer.image,
        pull_policy="IfNotPresent",
        port=names.PICKER_PORT,
        requests=_ASKS | layer.resources,
        mounts=[{"name": "config", "mountPath": _FOLDER, "readOnly": True}],
        # Why it ended is then in the pod's status, whatever becomes of the log.
        more={"terminationMessagePolicy": "FallbackToLogsOnError"},
    )
    del container["command"]  # the image's own
    # With "=": a flag that is true or false takes no second word.
    container["args"] = [f"--{flag}={_written(value)}" for flag, value in given.items()]
    container["ports"] = [
        {"name": "grpc", "containerPort": names.PICKER_PORT},
        {"name": "metrics", "containerPort": names.PICKER_METRICS},
    ]
    del container["readinessProbe"]["httpGet"]
    # Any name of a service will do; it serves once it knows the pool.
    container["readinessProbe"]["grpc"] = {
        "port": names.PICKER_HEALTH,
        "service": "inference-extension",
    }
    volumes = [{"name": "config", "configMap": {"name": name}}]
    spec = kubernetes_parts.pod([container], volumes=volumes)
    return spec | {"serviceAccountName": name, "automountServiceAccountToken": True}


def _written(value: Plain) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pool(name: str, address: SiteAddress) -> Object:
    """Give the InferencePool of the servers' pods, whichever there are."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name},
        "spec": {
            "targetPorts": [{"number": names.SERVER_PORT}],
            "selector": {"matchLabels": names.serving(address)},
            "endpointPickerRef": {"name": name, "port": {"number": names.PICKER_PORT}},
        },
    }


def _service(name: str, mark: Mapping[str, str]) -> Object:
    service = kubernetes_parts.service(name, mark, names.PICKER_PORT)
    service["spec"]["ports"] = [
        {"name": "grpc", "port": names.PICKER_PORT},
        {"name": "metrics", "port": names.PICKER_METRICS},
    ]
    return service


def _rights(name: str, namespace: str) -> list[Object]:
    """Give the picker's account, that may see pools, objectives and pods of its namespace."""
    metadata = {"metadata": {"name": name}}
    return [
        {
            "apiVersion": SERVICE_ACCOUNT.api_version,
            "kind": SERVICE_ACCOUNT.name,
            **metadata,
        },
        {
            "apiVersion": ROLE.api_version,
            "kind": ROLE.name,
            **metadata,
            "rules": OF_A_PICKER,
        },
        {
            "apiVersion": ROLE_BINDING.api_version,
            "kind": ROLE_BINDING.name,
            **metadata,
            "roleRef": {"apiGroup": ROLE.group, "kind": ROLE.name, "name": name},
            "subjects": [{"kind": SERVICE_ACCOUNT.name, "name": name, "namespace": namespace}],
        },
    ]
