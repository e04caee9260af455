"""Envoy's own configuration: every request by way of the picker, to the server that it names.

Settings that are not plain are told beside them; they were found with Envoy 1.40 and the picker of
GAIE v1.2.0.
"""

from __future__ import annotations

from typing import Any, Final

from llmatrix.cluster.kinds import Object
from llmatrix.stacks.llmd.names import DESTINATION, PICKER_PORT, PROXY_PORT

READY_PORT: Final = 19001
READY_PATH: Final = "/health"
_TYPES: Final = "type.googleapis.com/envoy.extensions"
PICKED: Final = "picked"
"""What the cluster is called whose endpoint the picker names."""
_UNLIMITED: Final = {
    # Envoy's own limit of 1,024 would cut the load before the servers do.
    "max_connections": 40000,
    "max_pending_requests": 40000,
    "max_requests": 40000,
}


def bootstrap(picker: str) -> Object:
    """Give the configuration of an Envoy that asks the host ``picker``."""
    route = {
        "match": {"prefix": "/"},
        # The client gives up, not the proxy: an answer of a model may take minutes.
        "route": {"cluster": PICKED, "timeout": "0s"},
    }
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    ready = _filter(
        "health_check",
        f"{_TYPES}.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": READY_PATH}}],
    )
    return {
        "static_resources": {
            "listeners": [
                _listener("serving", PROXY_PORT, hosts, [_external_processing()]),
                _listener("ready", READY_PORT, [], [ready]),
            ],
            "clusters": [picked(), _picker(picker)],
        }
    }


def picked() -> Object:
    """Give the cluster whose endpoint is what the picker wrote into the request's header."""
    return {
        "name": PICKED,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": DESTINATION},
        "circuit_breakers": {"thresholds": [_UNLIMITED]},
    }


def _external_processing() -> Object:
    return _filter(
        "ext_proc",
        f"{_TYPES}.filters.http.ext_proc.v3.ExternalProcessor",
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


def _picker(host: str) -> Object:
    address = {"socket_address": {"address": host, "port_value": PICKER_PORT}}
    # The picker makes its certificate itself at each start: nothing to verify it with.
    trust = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": {}},
    }
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "picker",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        # Envoy stands before the picker's Service is there: 5 s, the default, is long then.
        "dns_refresh_rate": "1s",
        "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "1s"},
        "load_assignment": {
            "cluster_name": "picker",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "circuit_breakers": {"thresholds": [_UNLIMITED]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": trust},
        "typed_extension_protocol_options": {options: http2},
    }


def _listener(name: str, port: int, hosts: list[Object], filters: list[Object]) -> Object:
    typed = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": hosts},
        "http_filters": [*filters, _filter("router", f"{_TYPES}.filters.http.router.v3.Router")],
    }
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}
    return {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104 - of its pod
        "filter_chains": [{"filters": [manager]}],
    }


def _filter(name: str, kind: str, **settings: Any) -> Object:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": kind, **settings}}
