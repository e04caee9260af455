"""A Gateway and its route: what the gateway layer is where the cluster has a class of gateways.

A class that knows InferencePools needs no more; ``gateway_support`` has what others need.
"""

from __future__ import annotations

from typing import Final

from llmatrix.cluster.facts import GATEWAY, HTTP_ROUTE, INFERENCE_POOL
from llmatrix.cluster.kinds import Object
from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks.llmd import gateway_support, names
from llmatrix.stacks.site_address import SiteAddress

LISTENER: Final = "http"
NO_TIMEOUTS: Final = {"timeouts": {"request": "0s"}}
"""The client gives up, not the proxy: an answer of a model may take minutes."""


def objects(layer: LlmdGateway, address: SiteAddress) -> list[Object]:
    """Give the objects of the layer.

    Raises:
        ValueError: it names no class.
    """
    if layer.class_name is None:
        raise ValueError("a Gateway has a class")
    name, picker = names.gate(address), names.picker(address)
    if layer.support == "envoy-gateway":
        backend = gateway_support.backend(name)
        more = gateway_support.envoy_gateway(
            name, f"{address.namespace}/{name}/{LISTENER}", names.host(picker, address)
        )
    else:
        backend = {"group": INFERENCE_POOL.group, "kind": INFERENCE_POOL.name, "name": picker}
        more = []
    if layer.support == "istio":
        more = gateway_support.istio(name, picker)
    elif layer.support == "gke":
        more = gateway_support.gke(name, picker)
    # GKE has the time limit in a policy, and does not take one in a route.
    timeouts = {} if layer.support == "gke" else NO_TIMEOUTS
    return [gateway(name, layer), route(name, backend, timeouts), *more]


def gateway(name: str, layer: LlmdGateway) -> Object:
    """Give a Gateway with one listener, for routes of its own namespace."""
    listener = {"name": LISTENER, "protocol": "HTTP", "port": layer.listener_port}
    spec: Object = {"gatewayClassName": layer.class_name, "listeners": [listener]}
    metadata: Object = {"name": name}
    more = {"labels": dict(layer.labels), "annotations": dict(layer.annotations)}
    if given := {key: value for key, value in more.items() if value}:
        # Some controllers look here, some there.
        metadata |= given
        spec["infrastructure"] = given
    return {
        "apiVersion": GATEWAY.api_version,
        "kind": GATEWAY.name,
        "metadata": metadata,
        "spec": spec,
    }


def route(name: str, backend: Object, timeouts: Object) -> Object:
    """Give the route of everything from the Gateway of the same name to a backend."""
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.name,
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": name}],
            "rules": [{"matches": [match], "backendRefs": [backend], **timeouts}],
        },
    }
