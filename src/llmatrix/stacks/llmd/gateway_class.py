"""Whether a cluster has the class of gateways that a stack names, and it does what is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.discovery import serves
from llmatrix.cluster.facts import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE
from llmatrix.cluster.faults import Refused
from llmatrix.cluster.kinds import CONFIG_MAP, Kind, Object
from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks.llmd import gateway_support

CONTROLLERS: Final = {
    "envoy-gateway": ("gateway.envoyproxy.io/",),
    "istio": ("istio.io/", "openshift.io/"),
    "gke": ("networking.gke.io/",),
}
"""By ``stack.gateway.support``, what the names of the controllers begin with that want it."""
_AI_GATEWAY: Final = Kind(
    "aigateway.envoyproxy.io", "v1alpha1", "aigatewayroutes", "AIGatewayRoute"
)
"""Brings InferencePools to Envoy Gateway."""
_SWITCHES: Final = ("enableBackend", "enableEnvoyPatchPolicy")
_INSTALL: Final = (
    "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/"
    "latest/download/standard-install.yaml"
)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Something that must be mended first: what, in words, and how."""

    told: str
    mend: str


def unfit(cluster: Cluster, layer: LlmdGateway) -> Iterator[Unfit]:
    """Give what is wrong with the class that a gateway layer of mode ``gateway`` names.

    Raises:
        Refused: our account may not look at classes.
        ClusterFault: the cluster cannot be asked.
    """
    missing = [kind for kind in (GATEWAY_CLASS, GATEWAY, HTTP_ROUTE) if not serves(cluster, kind)]
    if missing:
        told = " and ".join(kind.name for kind in missing)
        yield Unfit(
            f"the cluster has no {told} ({GATEWAY.api_version}): the Gateway API is missing or "
            f"old; install it and a controller, or set stack.gateway.mode: standalone",
            _INSTALL,
        )
        return
    name = str(layer.class_name)
    found = cluster.get(GATEWAY_CLASS, name)
    if found is None:
        others = [each["metadata"]["name"] for each in cluster.find(GATEWAY_CLASS)]
        yield Unfit(
            f"stack.gateway.class_name: there is no GatewayClass {name}; the cluster has "
            f"{', '.join(sorted(others)) or 'none'}",
            "kubectl get gatewayclasses",
        )
        return
    yield from unfit_class(found, layer, pools=serves(cluster, _AI_GATEWAY))
    for kind in gateway_support.KINDS[layer.support]:
        if not serves(cluster, kind):
            yield Unfit(
                f"stack.gateway.support: {layer.support} takes {kind.plural} "
                f"({kind.api_version}), which the cluster does not know",
                f"kubectl api-resources --api-group={kind.group}",
            )
    if layer.support == "envoy-gateway":
        yield from _switched_off(cluster)


def unfit_class(found: Object, layer: LlmdGateway, *, pools: bool) -> Iterator[Unfit]:
    """Give what is wrong with a class that is there.

    Args:
        found: the GatewayClass.
        layer: what names it.
        pools: whether Envoy Gateway has been taught InferencePools.
    """
    name, controller = found["metadata"]["name"], found["spec"]["controllerName"]
    conditions = (found.get("status") or {}).get("conditions") or ()
    accepted: Object = next((each for each in conditions if each["type"] == "Accepted"), {})
    if accepted.get("status") != "True":
        why = f"{accepted.get('reason', 'Unknown')}: {accepted.get('message', 'nothing is told')}"
        yield Unfit(
            f"GatewayClass {name} is not accepted by its controller, {controller} ({why})",
            f"kubectl describe gatewayclass {name}",
        )
    proper = wanted(controller, pools=pools)
    if not controller.startswith(CONTROLLERS.get(layer.support, ("",))):
        yield Unfit(
            f"stack.gateway.support is {layer.support}, and the controller of GatewayClass {name} "
            f"is {controller}",
            f"set stack.gateway.support: {proper}",
        )
    elif layer.support == "inference-pool" != proper:
        yield Unfit(
            f"the controller of GatewayClass {name}, {controller}, needs more than an "
            f"InferencePool to ask a picker",
            f"set stack.gateway.support: {proper}",
        )


def wanted(controller: str, *, pools: bool) -> str:
    """Give the ``stack.gateway.support`` that goes with a controller."""
    for support, beginnings in CONTROLLERS.items():
        if controller.startswith(beginnings) and not (support == "envoy-gateway" and pools):
            return support
    return "inference-pool"


def _switched_off(cluster: Cluster) -> Iterator[Unfit]:
    """Look at the configuration of Envoy Gateway, where it usually is and if we may."""
    try:
        found = cluster.get(CONFIG_MAP, "envoy-gateway-config", "envoy-gateway-system")
    except Refused:
        return  # what is off is told by the policies' status
    if found is not None:
        yield from switched_off((found.get("data") or {}).get("envoy-gateway.yaml", ""))


def switched_off(text: str) -> Iterator[Unfit]:
    """Give what is off of the extensions that are needed, in an EnvoyGateway document."""
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    on = (document.get("extensionApis") or {}) if isinstance(document, dict) else {}
    if off := [each for each in _SWITCHES if not on.get(each)]:
        told = " and ".join(off)
        values = " ".join(f"--set config.envoyGateway.extensionApis.{each}=true" for each in off)
        yield Unfit(
            f"Envoy Gateway has {told} off, which stack.gateway.support: envoy-gateway takes",
            f"helm upgrade eg oci://docker.io/envoyproxy/gateway-helm -n envoy-gateway-system "
            f"--reuse-values {values}",
        )
