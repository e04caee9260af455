"""What some classes of gateways need beside a Gateway and a route before they ask a picker.

Envoy Gateway knows no InferencePools: an extension policy has it ask the picker, and a patch of
its Envoy's configuration sends each request where the picker says. Seen to work with v1.6. What
Istio and GKE need is what the chart ``inferencepool`` of GAIE v1.2.0 gives them.
"""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster.facts import GATEWAY, HTTP_ROUTE, INFERENCE_POOL
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.stacks.llmd import envoy, names

_GROUP: Final = "gateway.envoyproxy.io"
BACKEND: Final = Kind(_GROUP, "v1alpha1", "backends", "Backend")
EXTENSION_POLICY: Final = Kind(_GROUP, "v1alpha1", "envoyextensionpolicies", "EnvoyExtensionPolicy")
PATCH_POLICY: Final = Kind(_GROUP, "v1alpha1", "envoypatchpolicies", "EnvoyPatchPolicy")
DESTINATION_RULE: Final = Kind("networking.istio.io", "v1", "destinationrules", "DestinationRule")
HEALTH_CHECK_POLICY: Final = Kind(
    "networking.gke.io", "v1", "healthcheckpolicies", "HealthCheckPolicy"
)
BACKEND_POLICY: Final = Kind("networking.gke.io", "v1", "gcpbackendpolicies", "GCPBackendPolicy")
KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    "inference-pool": (),
    "istio": (DESTINATION_RULE,),
    "gke": (HEALTH_CHECK_POLICY, BACKEND_POLICY),
    "envoy-gateway": (BACKEND, EXTENSION_POLICY, PATCH_POLICY),
}
"""By ``stack.gateway.support``, the kinds of these objects."""
_UNLIMITED: Final = {
    "maxConnections": 40000,
    "maxPendingRequests": 40000,
    "maxParallelRequests": 40000,
}
"""As in ``envoy``: the proxy's own limit would cut the load before the servers do."""


def backend(name: str) -> Object:
    """Give the backend of a route whose requests are sent elsewhere by ``envoy_gateway``.

    It is the picker, which serves no such requests: were the patch not there, they would fail, and
    not reach a server that was not picked.
    """
    return {"group": _GROUP, "kind": BACKEND.name, "name": name}


def envoy_gateway(name: str, routes: str, picker: str) -> list[Object]:
    """Give what makes Envoy Gateway ask a picker.

    Args:
        name: of the Gateway and its HTTPRoute, and of all that is made.
        routes: what Envoy Gateway calls the routes of the listener: NAMESPACE/GATEWAY/LISTENER.
        picker: host name of the picker's Service.
    """
    endpoint = {"fqdn": {"hostname": picker, "port": names.PICKER_PORT}}
    # A Service would be asked in plain text; the picker's certificate is one that it made itself.
    of_the_picker = {"endpoints": [endpoint], "tls": {"insecureSkipVerify": True}}
    ask = {
        "backendRefs": [backend(name)],
        # The only mode of bodies that the picker speaks.
        "processingMode": {
            "request": {"body": "FullDuplexStreamed"},
            "response": {"body": "FullDuplexStreamed"},
        },
        # Its default, 200 ms, is short for a picker that waits for its turn.
        "messageTimeout": "10s",
        "backendSettings": {
            "circuitBreaker": _UNLIMITED,
            # The Gateway stands before the picker is there: 30 s, the default, is long then.
            "dns": {"dnsRefreshRate": "1s", "respectDnsTtl": False},
        },
    }
    asks = {"targetRefs": [_target(HTTP_ROUTE, name)], "extProc": [ask]}
    add = _patch("cluster.v3.Cluster", envoy.PICKED, "add", "", envoy.picked())
    redirect = _patch(
        "route.v3.RouteConfiguration",
        routes,
        "replace",
        "/virtual_hosts/0/routes/0/route/cluster",
        envoy.PICKED,
    )
    sends = {
        "targetRef": _target(GATEWAY, name),
        "type": "JSONPatch",
        "jsonPatches": [add, redirect],
    }
    return [
        _made(BACKEND, name, of_the_picker),
        _made(EXTENSION_POLICY, name, asks),
        _made(PATCH_POLICY, name, sends),
    ]


def istio(name: str, picker: str) -> list[Object]:
    """Give what lets Istio speak to a picker that made its certificate itself."""
    tls = {"mode": "SIMPLE", "insecureSkipVerify": True}
    return [_made(DESTINATION_RULE, name, {"host": picker, "trafficPolicy": {"tls": tls}})]


def gke(name: str, pool: str) -> list[Object]:
    """Give the check of the servers' health and the time limit that GKE has beside a route."""
    target = {"targetRef": _target(INFERENCE_POOL, pool)}
    http = {"requestPath": "/health", "port": names.SERVER_PORT}
    check = {
        "timeoutSec": 2,
        "checkIntervalSec": 2,
        "config": {"type": "HTTP", "httpHealthCheck": http},
    }
    return [
        _made(HEALTH_CHECK_POLICY, name, {**target, "default": check}),
        # An answer of a model may take minutes; there is no "none".
        _made(BACKEND_POLICY, name, {**target, "default": {"timeoutSec": 3600}}),
    ]


def _made(kind: Kind, name: str, spec: Object) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name},
        "spec": spec,
    }


def _target(kind: Kind, name: str) -> Object:
    return {"group": kind.group, "kind": kind.name, "name": name}


def _patch(kind: str, name: str, what: str, path: str, value: Any) -> Object:
    return {
        "type": f"type.googleapis.com/envoy.config.{kind}",
        "name": name,
        "operation": {"op": what, "path": path, "value": value},
    }
