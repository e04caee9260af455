"""Envoy before a picker: alone, and as a Gateway of Envoy Gateway, configured as llmatrix does."""

from __future__ import annotations

import json
from typing import Final

from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks.llmd import envoy as configured
from llmatrix.stacks.llmd import gateway_objects, gateway_support, names
from tools.devcluster.stack import RESTRICTED, Object, configuration, deployment, service

LISTENER: Final = names.PROXY_PORT
"""Where Envoy listens when it stands alone."""


def envoy(name: str, image: str, picker: str) -> list[Object]:
    """Give an Envoy that asks the Service ``picker`` where each request goes."""
    ready = {"path": configured.READY_PATH, "port": configured.READY_PORT}
    container = {
        "name": "envoy",
        "image": image,
        "args": ["-c", "/etc/envoy/envoy.json", "--log-level", "warn"],
        "ports": [{"containerPort": LISTENER}],
        "readinessProbe": {"httpGet": ready, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/envoy"}],
    }
    pods = {
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
        "terminationGracePeriodSeconds": 1,
    }
    files = {"envoy.json": json.dumps(configured.bootstrap(picker))}
    return [configuration(name, files), deployment(name, pods), service(name, LISTENER)]


def gateway(name: str, gateway_class: str, namespace: str, picker: str) -> list[Object]:
    """Give a Gateway of Envoy Gateway, its route, and what makes it ask the Service ``picker``."""
    layer = LlmdGateway(mode="gateway", class_name=gateway_class, support="envoy-gateway")
    routes = f"{namespace}/{name}/{gateway_objects.LISTENER}"
    backend = gateway_support.backend(name)
    return [
        gateway_objects.gateway(name, layer),
        gateway_objects.route(name, backend, gateway_objects.NO_TIMEOUTS),
        *gateway_support.envoy_gateway(name, routes, f"{picker}.{namespace}.svc"),
    ]
