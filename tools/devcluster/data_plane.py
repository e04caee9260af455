"""Envoy before a picker, as it was seen to work: alone, and as a Gateway of Envoy Gateway."""

from __future__ import annotations

import json
from typing import Any, Final

from tools.devcluster.stack import (
    DESTINATION,
    PICKER_GRPC,
    PORT,
    RESTRICTED,
    Object,
    configuration,
    deployment,
    service,
)

LISTENER: Final = 8080
"""Where Envoy listens when it stands alone."""
_READY: Final = 19001
_TYPES: Final = "type.googleapis.com/envoy"
_EXTENSIONS: Final = f"{_TYPES}.extensions"
_PICKED: Final = "picked-by-header"
_GATEWAY_API: Final = "gateway.networking.k8s.io"
_ENVOY_GATEWAY: Final = "gateway.envoyproxy.io"


def envoy(name: str, image: str, picker: str) -> list[Object]:
    """Give an Envoy that asks the Service ``picker`` where each request goes."""
    container = {
        "name": "envoy",
        "image": image,
        "args": ["-c", "/etc/envoy/envoy.json", "--log-level", "warn"],
        "ports": [{"containerPort": LISTENER}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": _READY}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/envoy"}],
    }
    pods = {
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
        "terminationGracePeriodSeconds": 1,
    }
    files = {"envoy.json": json.dumps(bootstrap(picker))}
    return [configuration(name, files), deployment(name, pods), service(name, LISTENER)]


def bootstrap(picker: str) -> Object:
    """Give Envoy's configuration: one listener, every request by way of the picker."""
    route = {
        "match": {"prefix": "/"},
        # The client gives up, not the proxy: an answer of a model may take minutes.
        "route": {"cluster": _PICKED, "timeout": "0s"},
    }
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    health = {"name": ":path", "string_match": {"exact": "/ready"}}
    answer_ready = _filter(
        "health_check",
        f"{_EXTENSIONS}.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[health],
    )
    serving = _listener("serving", LISTENER, hosts, [_external_processing()])
    ready = _listener("ready", _READY, [], [answer_ready])
    return {
        "static_resources": {
            "listeners": [serving, ready],
            "clusters": [picked(), _picker_cluster(picker)],
        }
    }


def picked() -> Object:
    """Give the cluster whose endpoint is what the picker wrote into the request's header."""
    return {
        "name": _PICKED,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": DESTINATION},
        "circuit_breakers": {"thresholds": [_UNLIMITED]},
    }


_UNLIMITED: Final = {
    # Envoy's own limit of 1,024 would cut the load before the servers do.
    "max_connections": 40000,
    "max_pending_requests": 40000,
    "max_requests": 40000,
}


def _external_processing() -> Object:
    return _filter(
        "ext_proc",
        f"{_EXTENSIONS}.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "picker"}, "timeout": "10s"},
        # The only mode of bodies that the picker speaks, and it wants the trailers with it.
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": "FULL_DUPLEX_STREAMED",
            "request_trailer_mode": "SEND",
            "response_header_mode": "SEND",
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            "response_trailer_mode": "SEND",
        },
        message_timeout="10s",
    )


def _picker_cluster(picker: str) -> Object:
    address = {"socket_address": {"address": picker, "port_value": PICKER_GRPC}}
    # It makes its certificate itself at each start: nothing to verify it with.
    trust = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": {}},
    }
    options = f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": "picker",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "picker",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "circuit_breakers": {"thresholds": [_UNLIMITED]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": trust},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
    }


def _listener(name: str, port: int, hosts: list[Object], filters: list[Object]) -> Object:
    router = _filter("router", f"{_EXTENSIONS}.filters.http.router.v3.Router")
    connections = f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    typed = {
        "@type": connections,
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": hosts},
        "http_filters": [*filters, router],
    }
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}
    return {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104 - in a pod
        "filter_chains": [{"filters": [manager]}],
    }


def _filter(name: str, kind: str, **settings: Any) -> Object:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **settings}}


def gateway(name: str, gateway_class: str) -> Object:
    """Give a Gateway with one listener, for routes of its own namespace."""
    return {
        "apiVersion": f"{_GATEWAY_API}/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {
            "gatewayClassName": gateway_class,
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
        },
    }


def route(name: str, gateway: str, servers: str) -> Object:
    """Give the HTTPRoute of everything to the Service of the servers."""
    rule = {
        "backendRefs": [{"name": servers, "port": PORT}],
        "timeouts": {"request": "0s"},  # none: an answer of a model may take minutes
    }
    return {
        "apiVersion": f"{_GATEWAY_API}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": gateway}], "rules": [rule]},
    }


def attached_picker(
    name: str, route: str, gateway: str, namespace: str, picker: str
) -> list[Object]:
    """Give what makes a Gateway of Envoy Gateway ask a picker, though it knows no pools."""
    policy = {
        "apiVersion": f"{_ENVOY_GATEWAY}/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRefs": [{"group": _GATEWAY_API, "kind": "HTTPRoute", "name": route}],
            "extProc": [
                {
                    "backendRefs": [{"group": _ENVOY_GATEWAY, "kind": "Backend", "name": name}],
                    "processingMode": {
                        "request": {"body": "FullDuplexStreamed"},
                        "response": {"body": "FullDuplexStreamed"},
                    },
                    # Its default, 200 ms, is short for a picker that waits for its turn.
                    "messageTimeout": "10s",
                }
            ],
        },
    }
    host = f"{picker}.{namespace}.svc.cluster.local"
    # A Service would be asked in plain text; a Backend can say TLS without verification.
    backend = {
        "apiVersion": f"{_ENVOY_GATEWAY}/v1alpha1",
        "kind": "Backend",
        "metadata": {"name": name},
        "spec": {
            "endpoints": [{"fqdn": {"hostname": host, "port": PICKER_GRPC}}],
            "tls": {"insecureSkipVerify": True},
        },
    }
    return [backend, policy, _sent_where_picked(name, gateway, namespace)]


def _sent_where_picked(name: str, gateway: str, namespace: str) -> Object:
    """Give the patch that sends the route to the picked server instead of the route's Service."""
    add = {
        "type": f"{_TYPES}.config.cluster.v3.Cluster",
        "name": _PICKED,
        "operation": {"op": "add", "path": "", "value": picked()},
    }
    redirect = {
        "type": f"{_TYPES}.config.route.v3.RouteConfiguration",
        "name": f"{namespace}/{gateway}/http",
        "operation": {
            "op": "replace",
            "path": "/virtual_hosts/0/routes/0/route/cluster",
            "value": _PICKED,
        },
    }
    return {
        "apiVersion": f"{_ENVOY_GATEWAY}/v1alpha1",
        "kind": "EnvoyPatchPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRef": {"group": _GATEWAY_API, "kind": "Gateway", "name": gateway},
            "type": "JSONPatch",
            "jsonPatches": [add, redirect],
        },
    }
