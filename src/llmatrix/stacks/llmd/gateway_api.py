"""A Gateway on a site: brought up, looked at, addressed, and seen to be gone with its proxy.

Its proxy is its controller's, in whichever namespace that keeps it; so it is judged by what the
controller says of our objects, and by what answers at the Gateway's address.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from llmatrix.cluster.facts import GATEWAY, HTTP_ROUTE
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import POD, SERVICE, Kind, Object
from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.plan.step import Step
from llmatrix.spec.llmd import LlmdGateway
from llmatrix.stacks import kubernetes_objects, kubernetes_standing, site_rights
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd import gateway_objects, gateway_support, names
from llmatrix.stacks.llmd.conditions import Unmet, unmet
from llmatrix.stacks.llmd.gateway_faults import Watch, awaits_the_pool
from llmatrix.stacks.waiting import until

_EVERY_S: Final = 0.4
_RIGHTS_S: Final = 15.0
"""Seconds until the API server knows a new binding."""
GOES_S: Final = 120.0
"""Seconds for the proxy of a Gateway that is gone to be gone, too."""
_OWNER_NAME: Final = "gateway.envoyproxy.io/owning-gateway-name"
_OWNER_NAMESPACE: Final = "gateway.envoyproxy.io/owning-gateway-namespace"
_PROXY: Final = (POD, SERVICE)
"""What Envoy Gateway makes for a Gateway, with the labels above, in a namespace of its own."""
_GENERATED: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of what controllers make for a Gateway in its own namespace (GEP-1762)."""


def bring_up(site: KubernetesSite, layer: LlmdGateway, stop: threading.Event) -> None:
    """Make the Gateway with its route and policies, and wait until it is programmed.

    One that stands is made anew, as all that runs for a step. What does not come up is ended.

    Raises:
        StepFailure: they cannot be made, a controller finds fault with them, or none takes them.
        Stopped: ``stop`` was set meanwhile.
    """
    _allow(site, layer, stop)
    if stands(site):
        kubernetes_objects.put(site, Step.GATEWAY, (), stop)
        if left := await_gone(site, stop):
            raise StepFailure(f"{'; '.join(left)}.", FailureClass.ENVIRONMENT)
    ready = False
    try:
        documents = gateway_objects.objects(layer, site.address)
        kubernetes_objects.put(site, Step.GATEWAY, documents, stop)
        _await_programmed(site, layer, stop)
        ready = True
    finally:
        if not ready:
            kubernetes_objects.give_up(site, Step.GATEWAY)


def wrong(site: KubernetesSite, layer: LlmdGateway, *, pooled: bool = True) -> str:
    """Say what is not as it must be of the Gateway and what goes with it; "" if all is.

    Args:
        site: where.
        layer: what is wanted.
        pooled: whether the InferencePool must be there by now.
    """
    found = _unmet(site, layer)
    if isinstance(found, str):
        return found
    for each in found:
        if pooled or not awaits_the_pool(each):
            return str(each)
    return "" if url(site, layer) else f"Gateway {names.gate(site.address)} has no address"


def url(site: KubernetesSite, layer: LlmdGateway) -> str | None:
    """Give the base URL of the Gateway as seen from a pod; None while it has no address.

    A Service that the controller made beside the Gateway comes first: no load balancer, outside
    the cluster, is then in the way of what is measured.
    """
    gate = names.gate(site.address)
    with asking():
        services = site.cluster.find(SERVICE, site.namespace, {_GENERATED: gate})
        found = site.cluster.get(GATEWAY, gate, site.namespace)
    for each in services:
        address = each["spec"].get("clusterIP", "None")
        ports = {port["port"] for port in each["spec"].get("ports", ())}
        if address not in {"", "None"} and layer.listener_port in ports:
            return kubernetes_standing.url(address, layer.listener_port)
    return None if found is None else address_of(found)


def address_of(gateway: Object) -> str | None:
    """Give the base URL of a Gateway by its status: an address rather than a name."""
    addresses = (gateway.get("status") or {}).get("addresses") or []
    ordered = sorted(addresses, key=lambda each: each.get("type", "IPAddress") != "IPAddress")
    if not ordered:
        return None
    port = gateway["spec"]["listeners"][0]["port"]
    return kubernetes_standing.url(ordered[0]["value"], port)


def stands(site: KubernetesSite) -> bool:
    """Tell whether the site has a Gateway on record."""
    return any(each.kind == GATEWAY.name for each in site.state().applied(Step.GATEWAY))


def await_gone(site: KubernetesSite, stop: threading.Event) -> list[str]:
    """Wait until what a controller made for a Gateway that was removed is gone, too.

    Where our account may not look (a site in a shared namespace has no rights beyond it), the
    controller is trusted.

    Returns:
        What is still there, in words.

    Raises:
        Stopped: ``stop`` was set meanwhile.
    """
    gate, left = names.gate(site.address), list[str]()
    owner: dict[str, str | None] = {_OWNER_NAME: gate, _OWNER_NAMESPACE: site.namespace}
    beside: dict[str, str | None] = {_GENERATED: gate}
    looks = [(SERVICE, site.namespace, beside), *((kind, None, owner) for kind in _PROXY)]

    def gone() -> bool:
        left[:] = [each for look in looks for each in _seen(site, *look)]
        return not left

    until(gone, GOES_S, stop=stop, every_s=_EVERY_S)
    return [f"{each} (still there {GOES_S:g} s after its Gateway)" for each in left]


def _seen(
    site: KubernetesSite, kind: Kind, namespace: str | None, marks: dict[str, str | None]
) -> list[str]:
    with asking():
        try:
            found = site.cluster.find(kind, namespace, marks)
        except Refused:
            return []
    names_ = [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in found]
    return [f"{kind.name} {each}" for each in names_]


def _allow(site: KubernetesSite, layer: LlmdGateway, stop: threading.Event) -> None:
    """Give the account what Gateways need; trials before this one may have needed none."""
    for right in site_rights.of_gateway(layer):
        site.allow(right)
    if not site.address.own_namespace:
        return

    def may() -> bool:
        try:
            kinds: list[Kind] = [GATEWAY, HTTP_ROUTE, *gateway_support.KINDS[layer.support]]
            for kind in kinds:
                site.cluster.find(kind, site.namespace)
        except Refused:
            return False
        except ClusterFault:
            return True  # one that is not there is told when it is to be made
        return True

    until(may, _RIGHTS_S, stop=stop, every_s=_EVERY_S)


def _await_programmed(site: KubernetesSite, layer: LlmdGateway, stop: threading.Event) -> None:
    watch, deadline = Watch(layer), time.monotonic() + layer.startup
    while True:
        if stop.is_set():
            raise Stopped("stopped while waiting for a Gateway")
        found = _unmet(site, layer)
        if isinstance(found, str):
            raise StepFailure(f"{found}.", FailureClass.ENVIRONMENT)
        waiting = [each for each in found if not awaits_the_pool(each)]
        base = url(site, layer)
        if not waiting and base:
            return
        if waiting:
            site.said(f"{Step.GATEWAY}: {waiting[0]}")
        watch.judge(found, time.monotonic())
        if time.monotonic() > deadline:
            told = str(waiting[0]) if waiting else "the Gateway has no address"
            raise StepFailure(
                f"not ready within {layer.startup:g} s: {told}.", FailureClass.ENVIRONMENT
            )
        stop.wait(_EVERY_S)


def _unmet(site: KubernetesSite, layer: LlmdGateway) -> list[Unmet] | str:
    """Give what does not hold of our objects, or say which of them is gone."""
    gate, found = names.gate(site.address), []
    for wanted in gateway_objects.objects(layer, site.address):
        name = wanted["metadata"]["name"]
        with asking():
            kind = site.cluster.kind_of(wanted)
            document = site.cluster.get(kind, name, site.namespace)
        if document is None:
            return f"{kind.name} {site.namespace}/{name} is gone"
        found += unmet(document, gate)
    if url(site, layer):
        # An address of the Service that we go to will do; none may be given out for the other.
        found = [each for each in found if each.reason != "AddressNotAssigned"]
    return found
