"""The gateway layer: an Envoy that stands alone before the picker, a Gateway, or nothing at all."""

from __future__ import annotations

import json
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.plan.step import Step
from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks import kubernetes_parts
from llmatrix.stacks.llmd import envoy, gateway_objects, names, pods
from llmatrix.stacks.site_address import SiteAddress

_FOLDER: Final = "/etc/envoy"
_FILE: Final = "envoy.json"
_ASKS: Final = {"cpu": "100m", "memory": "128Mi"}


def objects(layer: LlmdGateway, address: SiteAddress) -> list[Object]:
    """Give the objects of the layer; none where requests go to the servers' Service."""
    if layer.mode == "none":
        return []
    if layer.mode == "gateway":
        return gateway_objects.objects(layer, address)
    name, mark = names.gateway(address), names.marks(address, Step.GATEWAY)
    host = names.host(names.picker(address), address)
    container = kubernetes_parts.container(
        "envoy",
        ["envoy", "-c", f"{_FOLDER}/{_FILE}", "--log-level", "warn"],
        image=layer.proxy.image,
        pull_policy="IfNotPresent",
        port=names.PROXY_PORT,
        requests=_ASKS | layer.proxy.resources,
        mounts=[{"name": "config", "mountPath": _FOLDER, "readOnly": True}],
        more={"terminationMessagePolicy": "FallbackToLogsOnError"},
    )
    container["readinessProbe"] |= {
        "httpGet": {"path": envoy.READY_PATH, "port": envoy.READY_PORT},
    }
    spec = kubernetes_parts.pod(
        [container], volumes=[{"name": "config", "configMap": {"name": name}}]
    )
    return [
        pods.config_map(name, {_FILE: json.dumps(envoy.bootstrap(host))}),
        kubernetes_parts.service(name, mark, names.PROXY_PORT),
        pods.deployment(name, mark, spec),
    ]
