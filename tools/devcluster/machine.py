"""What this machine must be and have: Linux, root, some kernel features, some Debian packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from llmatrix.stacks import process_table
from tools.devcluster.command import output, succeeds
from tools.devcluster.faults import CannotRunHere, ClusterFault

PROGRAMS: Final = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "etcd": "etcd-server",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "tini-static": "tini",
    "/bin/busybox": "busybox-static",
    "CNI plugins": "containernetworking-plugins",
}
"""Programs that must be there, and the Debian package of each."""
_CNI_PLACES: Final = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_CNI_PLUGINS: Final = ("bridge", "host-local", "portmap", "loopback")
_NODE_AGENTS: Final = ("kubelet", "kube-proxy", "k3s-server", "k3s-agent", "k0s")
_CONTROLLERS: Final = ("cpu", "memory", "pids")


def check() -> None:
    """Make sure that this machine can have the cluster.

    Raises:
        CannotRunHere: it cannot, and no package would help.
    """
    if not sys.platform.startswith("linux"):
        raise CannotRunHere(f"the cluster runs on Linux only; this is {sys.platform}")
    if os.geteuid() != 0:
        raise CannotRunHere("the cluster needs root: it makes control groups, mounts and networks")
    features = Path("/proc/filesystems").read_text(encoding="ascii").split()
    if "overlay" not in features and not _module("overlay"):
        raise CannotRunHere("this kernel has no overlay file system (modprobe overlay)")
    missing = [name for name in _CONTROLLERS if name not in _controllers()]
    if missing:
        raise CannotRunHere(f"this kernel gives no control groups for: {', '.join(missing)}")
    if not Path("/proc/sys/net/bridge").is_dir() and not _module("br_netfilter"):
        raise CannotRunHere("this kernel does not filter bridged packets (modprobe br_netfilter)")


def provide(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install the Debian packages of those programs that are missing.

    Args:
        programs: a program, or the path of a file → the package that it comes with.

    Raises:
        CannotRunHere: something is missing and cannot be installed.
    """
    missing = _missing(programs)
    if not missing:
        return
    packages = sorted(set(missing.values()))
    if shutil.which("apt-get") is None:
        raise CannotRunHere(
            f"missing: {', '.join(sorted(missing))}; without apt-get, install what your system "
            f"calls {', '.join(packages)}"
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    try:
        output(["apt-get", "update", "-qq"], environment=quiet)
        output(install, environment=quiet)
    except ClusterFault as fault:
        raise CannotRunHere(f"missing, and not to be had: {', '.join(packages)}: {fault}") from None
    still = _missing(programs)
    if still:
        raise CannotRunHere(f"still missing after installing packages: {', '.join(sorted(still))}")


def check_firewall() -> None:
    """Make sure that iptables works with this kernel.

    Raises:
        CannotRunHere: it does not.
    """
    if not succeeds(["iptables", "-t", "nat", "-S"]):
        raise CannotRunHere("iptables cannot list this kernel's NAT table; see: iptables -t nat -S")


def other_kubernetes(ours: Collection[int] = ()) -> str | None:
    """Name a Kubernetes of somebody else in our network namespace; None if there is none.

    Its chains are named as ours, so that the two cannot share a machine. One in a container of
    its own (kind, minikube with Docker) has a network of its own.

    Args:
        ours: processes of our own cluster.
    """
    here = Path("/proc/self/ns/net").readlink()
    for entry in process_table.entries():
        folder = Path("/proc") / str(entry.pid)
        with contextlib.suppress(OSError):  # it may end while we look
            name = (folder / "comm").read_text(encoding="utf-8").strip()
            if name in _NODE_AGENTS and entry.pid not in ours and _network(folder) == here:
                return f"{name}, process {entry.pid}"
    return None


def _network(process: Path) -> Path:
    return (process / "ns/net").readlink()


def cni_plugins() -> Path:
    """Give the folder of the CNI plugins.

    Raises:
        ClusterFault: there is none.
    """
    for place in map(Path, _CNI_PLACES):
        if all((place / plugin).exists() for plugin in _CNI_PLUGINS):
            return place
    raise ClusterFault(f"no CNI plugins in {', '.join(_CNI_PLACES)}")


def _missing(programs: Mapping[str, str]) -> dict[str, str]:
    missing = {name: package for name, package in programs.items() if shutil.which(name) is None}
    if "CNI plugins" in missing:
        with contextlib.suppress(ClusterFault):
            cni_plugins()
            del missing["CNI plugins"]
    return missing


def _controllers() -> set[str]:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        return set(unified.read_text(encoding="ascii").split())
    rows = Path("/proc/cgroups").read_text(encoding="ascii").splitlines()
    return {row.split()[0] for row in rows if row and row.split()[-1] == "1"}


def _module(name: str) -> bool:
    return succeeds(["modprobe", name])
