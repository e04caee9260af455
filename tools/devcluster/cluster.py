"""Brings the cluster up, takes it down, removes it. Each may be done twice, and after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from llmatrix.stacks.waiting import until
from tools.devcluster import (
    addons,
    builds,
    cgroups,
    components,
    images,
    layout,
    leftovers,
    machine,
    network,
    pki,
    readiness,
    running,
    settings,
    step_image,
)
from tools.devcluster.archive import Image
from tools.devcluster.components import Component
from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout
from tools.devcluster.phases import phase


@dataclass(frozen=True)
class Parts:
    """What the cluster is made of.

    Attributes:
        programs: a family's name → the folder of what was built.
        images: the short name of an image → its description.
    """

    programs: dict[str, Path]
    images: dict[str, Image]

    def names(self) -> dict[str, str]:
        """Give the images' names in containerd by their short names."""
        return {short: image.name for short, image in self.images.items()}


def up(place: Layout) -> Parts:
    """Bring the cluster up; what stands and is as it should be is left alone.

    Raises:
        CannotRunHere: this machine cannot have it.
        ClusterFault: it did not come up.
    """
    parts = prepare()
    with alone(place):
        with phase("keys and settings"):
            wanted = _settle(place, parts)
            _refuse_another(place)
            _clear(place, wanted)
            network.prepare(place)
            cgroups.make()
        kubectl = administrator(place, parts)
        with ThreadPoolExecutor(1) as aside:
            loading = _start(place, parts, wanted, kubectl, aside)
            with phase("CoreDNS and Tekton installed"):
                _install(place, parts, kubectl)
            since = running.since(place, "kubelet")
            with phase("node ready"):
                readiness.node(kubectl, since)
            loading.result()
        with phase("CoreDNS and Tekton ready"):
            readiness.addons(kubectl)
    return parts


def prepare() -> Parts:
    """Check the machine and provide packages, programs and images.

    Raises:
        CannotRunHere: this machine cannot have the cluster.
        ClusterFault: something could not be provided.
    """
    machine.check()
    with phase("packages"):
        machine.provide()
        machine.check_firewall()
    with phase("programs"):
        programs = builds.provide(layout.cache())
    with phase("archives of images"):
        described = images.described(programs)
        images.provide(described.values(), layout.cache())
    return Parts(programs, described)


def administrator(place: Layout, parts: Parts) -> Kubectl:
    """Give kubectl with an administrator's rights."""
    return Kubectl(parts.programs["kubernetes"] / "kubectl", place.kubeconfig)


def load_step_image(place: Layout) -> str:
    """Build the image of llmatrix if its sources changed, import it, and give its name.

    Raises:
        ClusterFault: it cannot be built, or the cluster does not stand.
    """
    name = step_image.image_name()
    if name not in images.present(place):
        _, archive = step_image.provide(layout.cache())
        with phase("step image imported"):
            images.load(place, archive)
    return name


def down(place: Layout) -> None:
    """End the cluster as a machine that is shut down; what it stored stays.

    Raises:
        ClusterFault: something does not end or stays behind.
    """
    if place.root.is_dir():
        with alone(place), phase("down"):
            _down(place)


def wipe(place: Layout) -> None:
    """End the cluster and remove its folder; built programs and images stay in the cache.

    Raises:
        ClusterFault: something does not end or stays behind.
    """
    down(place)
    with phase("wiped"):
        leftovers.remove(place)
        shutil.rmtree(place.root, ignore_errors=True)
        left = leftovers.found(place)
    if left or place.root.exists():
        raise ClusterFault("left behind: " + ", ".join(left or [str(place.root)]))


def _settle(place: Layout, parts: Parts) -> list[Component]:
    """Write keys and configuration; give the processes that follow from them."""
    place.config.mkdir(parents=True, exist_ok=True)
    place.volumes.mkdir(parents=True, exist_ok=True)
    pki.make(place)
    pause = parts.images["pause"].name
    settings.write(place, pause=pause, plugins=machine.cni_plugins())
    return components.components(place, parts.programs)


def _refuse_another(place: Layout) -> None:
    ours = {identity.pid for identity in running.standing(place).values()}
    other = machine.other_kubernetes(ours)
    if other is not None:
        raise CannotRunHere(f"another Kubernetes runs on this machine ({other})")


def _clear(place: Layout, wanted: list[Component]) -> None:
    """Make room: for a machine that was shut down, or one whose processes are not the wanted."""
    content = hashlib.sha256(repr([component.command for component in wanted]).encode())
    for path in sorted(place.config.rglob("*")):
        content.update(path.read_bytes() if path.is_file() else b"")
    made_from = place.root / "made-from"
    there = running.standing(place)
    known = made_from.read_text(encoding="ascii") if made_from.exists() else ""
    if not there or known != content.hexdigest():
        _down(place)
    place.run.mkdir(exist_ok=True)
    made_from.write_text(content.hexdigest(), encoding="ascii")


def _start(
    place: Layout,
    parts: Parts,
    wanted: list[Component],
    kubectl: Kubectl,
    aside: ThreadPoolExecutor,
) -> Future[None]:
    """Start what does not run; gives the loading of images, which goes on."""
    by_name = {component.name: component for component in wanted}
    with phase("etcd and containerd"):
        first = [by_name["etcd"], by_name["containerd"]]
        running.start(place, first)
        running.await_ready(place, first)
    loading = aside.submit(load_images, place, parts.images.values())
    with phase("API server"):
        running.start(place, [by_name["kube-apiserver"]])
        running.await_ready(place, [by_name["kube-apiserver"]])
    if "kubelet" not in running.standing(place) and not cgroups.members():
        # Whoever held them is gone, and the next would wait until they expire.
        for namespace in addons.NAMESPACES:
            kubectl.run("delete", "leases", "--all", "-n", namespace, "--ignore-not-found")
    with phase("the other processes"):
        rest = [component for component in wanted if component.needs_api]
        running.start(place, rest)
        running.await_ready(place, rest)
    return loading


def load_images(place: Layout, wanted: Iterable[Image]) -> None:
    """Import those images that containerd lacks."""
    present = images.present(place)
    missing = [image for image in wanted if image.name not in present]
    with phase(f"{len(missing)} images imported"):
        for path in images.provide(missing, layout.cache()):
            images.load(place, path)


def _install(place: Layout, parts: Parts, kubectl: Kubectl) -> None:
    wanted = addons.objects(parts.programs, parts.names())
    installed = place.data / "installed"
    digest = addons.digest(wanted)
    if not installed.exists() or installed.read_text(encoding="ascii") != digest:
        kubectl.apply(wanted)
        installed.write_text(digest, encoding="ascii")


def _down(place: Layout) -> None:
    running.end(place, ["kubelet"])  # first, or it would start again what ends
    cgroups.end()
    stores = {"etcd", "containerd"}
    running.end(place, [name for name in running.recorded(place) if name not in stores])
    running.end(place, ["etcd"])
    # Its shims do not listen to SIGTERM, and it needs no time itself.
    running.end(place, ["containerd"], grace_s=0.5)
    leftovers.remove(place)


@contextlib.contextmanager
def alone(place: Layout, patience_s: float = 300.0) -> Iterator[None]:
    """Keep two of us from working on the cluster at the same time; the second waits."""
    place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (place.root.parent / f".{place.root.name}.lock").open("w") as lock:
        if not until(lambda: _locked(lock), patience_s, every_s=0.2):
            raise ClusterFault(
                f"another `devcluster` has been working on this cluster for {patience_s:.0f} s"
            )
        yield


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
