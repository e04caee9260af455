"""What the layers of an llm-d stack know of one another: names, ports, labels."""

from __future__ import annotations

from typing import Final

from llmatrix.cluster import labels
from llmatrix.plan.step import Step
from llmatrix.stacks.site_address import SiteAddress

SERVER_PORT: Final = 8000
"""Where every model server listens."""
PROXY_PORT: Final = 8080
"""Where Envoy listens."""
PICKER_PORT: Final = 9002
"""Where the picker is asked, by gRPC."""
PICKER_HEALTH: Final = 9003
PICKER_METRICS: Final = 9090
SERVING: Final = "llm-d.ai/inference-serving"
"""The label by which llm-d's pools know pods that answer requests."""
DESTINATION: Final = "x-gateway-destination-endpoint"
"""The header in which the picker names the server (GAIE, "Endpoint Picker Protocol")."""


def gateway(address: SiteAddress) -> str:
    """Name what requests are sent to."""
    return address.object_name("gateway")


def gate(address: SiteAddress) -> str:
    """Name the Gateway with its route: not as above, for controllers name Services after it."""
    return address.object_name("gate")


def host(name: str, address: SiteAddress) -> str:
    """Give the name in the cluster's DNS of a Service of this site, whatever the domain is."""
    return f"{name}.{address.namespace}.svc"


def picker(address: SiteAddress) -> str:
    """Name the picker with all that is its own, and its pool."""
    return address.object_name("picker")


def server(address: SiteAddress) -> str:
    """Name the servers' Deployment and their Service."""
    return address.object_name("server")


def prefill(address: SiteAddress) -> str:
    """Name the Deployment of the servers that prefill only."""
    return address.object_name("prefill")


def serving(address: SiteAddress) -> dict[str, str]:
    """Give the labels of the servers' pods that answer: by them the pool and the Service select."""
    return marks(address, Step.SERVER) | {SERVING: "true"}


def marks(address: SiteAddress, step: Step) -> dict[str, str]:
    """Give the labels by which the pods of a step are selected."""
    return {labels.SITE: address.name, labels.STEP: step.value}


def resource(accelerator: str) -> str:
    """Name the resource by which nodes offer an accelerator."""
    return "amd.com/gpu" if accelerator.upper().startswith("MI") else "nvidia.com/gpu"
