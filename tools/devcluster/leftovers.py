"""Removes what a cluster leaves behind when it ends, in whatever state it was."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

from llmatrix.stacks import processes
from tools.devcluster import cgroups, firewall, machine, mounts, network
from tools.devcluster.layout import Layout

_CONTAINER_LOGS: Final = Path("/var/log/containers")


def remove(layout: Layout) -> None:
    """Remove pods' processes, mounts, networks, chains and all that does not outlive a shutdown.

    The processes of the cluster itself have ended before.

    Raises:
        ClusterFault: something stays; the message says what.
    """
    cgroups.end()
    _shim_sockets(layout)
    mounts.remove(layout.root)
    network.remove(layout)
    if machine.other_kubernetes() is None:
        firewall.remove()
    cgroups.remove()
    for link in _CONTAINER_LOGS.glob("*"):
        if _leads_here(link, layout):
            link.unlink(missing_ok=True)
    shutil.rmtree(layout.run, ignore_errors=True)


def found(layout: Layout) -> list[str]:
    """Name everything of the cluster that is on this machine now, its folder left aside."""
    return [
        *(f"process {one.pid} ({one.name})" for one in _alive(layout)),
        *(f"process {pid} of a pod" for pid in sorted(cgroups.members())),
        *(f"mount {point}" for point in mounts.below(layout.root)),
        *(f"network device {name}" for name in network.devices()),
        *(f"iptables chain {name}" for name in firewall.ours()),
        *(f"control group {group}" for group in cgroups.standing()),
    ]


def _leads_here(link: Path, layout: Layout) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(layout.root)


def _alive(layout: Layout) -> list[processes.Identity]:
    return [one for one in processes.recorded(layout.root) if processes.alive(one)]


def _shim_sockets(layout: Layout) -> None:
    """Remove the sockets of shims that were killed; containerd keeps them outside its folders."""
    for address in (layout.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            Path(address.read_text(encoding="utf-8").removeprefix("unix://")).unlink()
