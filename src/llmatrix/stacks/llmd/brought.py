"""A brought layer on a site: its objects placed there, and found by the names of a preset's.

A Service that others speak to is given a second one under the name by which every other layer
knows it (``names``), and so is the pool. So no layer's objects, and no layer's key, depend on how
another is deployed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import CONFIG_MAP, SERVICE, Object
from llmatrix.plan.step import Step
from llmatrix.spec.base import FileText
from llmatrix.spec.charts import Brought, Fronted
from llmatrix.stacks import kubernetes_parts
from llmatrix.stacks.llmd import names, placeholders
from llmatrix.stacks.llmd.manifest_set import containers
from llmatrix.stacks.site_address import SiteAddress

POOL: Final = "InferencePool"
_DEFAULTS: Final = {
    "total-queued-requests-metric": "vllm:num_requests_waiting",
    "kv-cache-usage-percentage-metric": "vllm:gpu_cache_usage_perc",
}
"""Of GAIE's picker (v1.2.0), for flags that name what scorers go by."""
_GAIE: Final = "gateway-api-inference-extension/"


class NoFront(ValueError):
    """Nothing in a set, or too much, can be what others speak to."""


def objects(layer: Brought, text: str, step: Step, address: SiteAddress) -> list[Object]:
    """Give the objects of a layer on a site.

    Args:
        layer: as it was resolved.
        text: its set, as canonical JSON with placeholders.
        step: that makes it.
        address: of the site.

    Raises:
        NoFront: none of its Services can be the one that others speak to.
    """
    made: list[Object] = json.loads(placeholders.filled(text, address, step))
    for each in made:
        each["metadata"].pop("namespace", None)
        _keep_to_the_site(each, address)
    there = {(each["kind"], each["metadata"]["name"]): each for each in made}
    second = {(e["kind"], e["metadata"]["name"]): e for e in _seconds(layer, made, step, address)}
    for key in second.keys() & there.keys():
        _hold_ports(there[key], second.pop(key))
    return [*second.values(), *made]


def picker_config(made: Sequence[Object]) -> FileText | None:
    """Give the EndpointPickerConfig that a set's picker reads, if it can be told."""
    given = _flags(made)
    if "config-text" in given:
        return FileText(text=given["config-text"], name="--config-text (rendered)")
    file = given.get("config-file", "").rpartition("/")[2]
    found = [
        (name, str(text))
        for each in made
        if each["kind"] == CONFIG_MAP.name
        for name, text in (each.get("data") or {}).items()
        if name == file
    ]
    if len(found) != 1 or not _is_config(found[0][1]):
        return None
    return FileText(text=found[0][1], name=f"{found[0][0]} (rendered)")


def reads(made: Sequence[Object]) -> list[str]:
    """Give the names of the servers' metrics that a set's picker goes by, as far as it shows.

    What no flag says is GAIE's default where the image is GAIE's, and not known where it is not.
    """
    given = _flags(made)
    images = [c.get("image", "") for each in made for c in containers(each)]
    known = _DEFAULTS if any(_GAIE in image for image in images) else {}
    said = [given.get(flag, known.get(flag, "")) for flag in _DEFAULTS]
    return [name for each in said if (name := each.partition("{")[0])]


def _seconds(
    layer: Brought, made: Sequence[Object], step: Step, address: SiteAddress
) -> list[Object]:
    """Give the Services, and the pool, under the names by which the other layers know them."""
    if step is Step.SERVER or not isinstance(layer, Fronted):
        mark = names.marks(address, Step.SERVER)
        return [kubernetes_parts.service(names.server(address), mark, names.SERVER_PORT)]
    port = layer.port
    if step is Step.GATEWAY:
        front, chosen = _front(layer, made, None, address, step)
        ports = [_port("http", names.PROXY_PORT, chosen)]
        return [_service(names.gateway(address), front, ports)]
    front, chosen = _front(layer, made, port or names.PICKER_PORT, address, step)
    told = front["spec"].get("ports") or ()
    metrics = next((each for each in told if each.get("port") == names.PICKER_METRICS), None)
    ports = [
        _port("grpc", names.PICKER_PORT, chosen),
        _port("metrics", names.PICKER_METRICS, metrics or {"port": names.PICKER_METRICS}),
    ]
    return [_service(names.picker(address), front, ports), *_second_pool(made, address)]


def _second_pool(made: Sequence[Object], address: SiteAddress) -> list[Object]:
    pools = [each for each in made if each["kind"] == POOL and each["apiVersion"].endswith("/v1")]
    if len(pools) != 1:
        return []
    return [{**pools[0], "metadata": {"name": names.picker(address)}}]


def _front(
    layer: Fronted, made: Sequence[Object], wanted: int | None, address: SiteAddress, step: Step
) -> tuple[Object, Object]:
    """Give the Service that others speak to, and that port of it."""
    services = [each for each in made if each["kind"] == SERVICE.name and _selects(each)]
    if layer.service is not None:
        called = placeholders.filled(layer.service, address, step)
        services = [each for each in services if each["metadata"]["name"] == called]
        if not services:
            raise NoFront(f"it has no Service {layer.service} with a selector")
    wanted = layer.port or wanted
    fit = [(each, port) for each in services for port in _ports(each, wanted)]
    if len(fit) != 1:
        at = f" with port {wanted}" if wanted else ""
        several = f"several Services or ports{at}" if fit else f"no Service{at} and a selector"
        raise NoFront(f"it has {several}; say by stack.{step}.service and .port which is meant")
    return fit[0]


def _hold_ports(theirs: Object, ours: Object) -> None:
    """Refuse a Service under one of our names that lacks a port at which others look for it."""
    if theirs["kind"] != SERVICE.name:
        return
    wanted = {port["port"] for port in ours["spec"]["ports"]}
    if lacking := sorted(wanted - {port.get("port") for port in _ports(theirs, None)}):
        raise NoFront(f"its Service {theirs['metadata']['name']} has no port {lacking[0]}")


def _selects(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("selector"))


def _ports(service: Object, wanted: int | None) -> list[Object]:
    told = service["spec"].get("ports") or ()
    return [each for each in told if wanted is None or each.get("port") == wanted]


def _port(name: str, number: int, of: Object) -> Object:
    return {"name": name, "port": number, "targetPort": of.get("targetPort") or of["port"]}


def _service(name: str, front: Object, ports: list[Object]) -> Object:
    made = kubernetes_parts.service(name, front["spec"]["selector"], ports[0]["port"])
    made["spec"]["ports"] = ports
    return made


def _keep_to_the_site(document: Object, address: SiteAddress) -> None:
    """Have everything select pods of this site only, whoever else is in its namespace.

    Pods get our labels in place of any of those names that they have, so selectors do, too.
    """
    spec: dict[str, Any] = document.get("spec") or {}
    if document["kind"] == SERVICE.name:
        _narrow(spec, "selector", address)
    elif isinstance(spec.get("selector"), dict):
        # A pool of the earlier API has its labels where the others have matchLabels.
        whole = document["kind"] == POOL and "matchLabels" not in spec["selector"]
        _narrow(
            spec if whole else spec["selector"], "selector" if whole else "matchLabels", address
        )


def _narrow(holder: Object, name: str, address: SiteAddress) -> None:
    marks = address.labels()
    if asked := holder.get(name):
        own = {key: marks.get(key, value) for key, value in asked.items()}
        holder[name] = own | {labels.SITE: address.name}


def _flags(made: Sequence[Object]) -> dict[str, str]:
    """Give the flags of all containers, in either way of writing them."""
    found: dict[str, str] = {}
    for each in made:
        for container in containers(each):
            said = [*(container.get("command") or ()), *(container.get("args") or ()), ""]
            for word, following in pairwise(map(str, said)):
                if not word.startswith("-"):
                    continue
                flag, equals, value = word.lstrip("-").partition("=")
                found[flag] = value if equals else following
    return found


def _is_config(text: str) -> bool:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return True  # whatever is wrong with it is told at its place
    return isinstance(document, dict) and "plugins" in document
