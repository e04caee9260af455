"""The node's address, the bridge of the pods, and the kernel settings that Kubernetes changes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

from llmatrix.stacks.waiting import until
from tools.devcluster.command import output, succeeds
from tools.devcluster.faults import ClusterFault
from tools.devcluster.layout import NETWORK, NODE_ADDRESS, Layout
from tools.devcluster.settings import BRIDGE

_WANTED: Final = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
_ALSO_CHANGED: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
)
"""What the kubelet and kube-proxy set by themselves."""
_SYSCTL: Final = Path("/proc/sys")
_CNI_CACHE: Final = Path("/var/lib/cni/results")


def prepare(layout: Layout) -> None:
    """Give the node its address and set the kernel, remembering how it was.

    Raises:
        ClusterFault: the address belongs to somebody else.
    """
    where = _interface(NODE_ADDRESS)
    if where not in {None, "lo"}:
        raise ClusterFault(f"{NODE_ADDRESS} is the address of {where}; the cluster wants it on lo")
    memory = layout.root / "kernel.json"
    if not memory.exists():
        before = {name: value for name in (*_WANTED, *_ALSO_CHANGED) if (value := _read(name))}
        memory.write_text(json.dumps(before), encoding="ascii")
    for name, value in _WANTED.items():
        (_SYSCTL / name).write_text(value, encoding="ascii")
    if where is None:
        output(["ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", "lo"])


def remove(layout: Layout) -> None:
    """Take the address and the bridge away and set the kernel as it was.

    Raises:
        ClusterFault: a network device stays.
    """
    # A pod's end of the cable goes with its network namespace, and takes our end with it.
    if not until(lambda: not _cables(), 5.0):
        for cable in _cables():
            succeeds(["ip", "link", "delete", cable])
    if (Path("/sys/class/net") / BRIDGE).exists():
        output(["ip", "link", "delete", BRIDGE])
    if _interface(NODE_ADDRESS) == "lo":
        output(["ip", "address", "delete", f"{NODE_ADDRESS}/32", "dev", "lo"])
    for result in _CNI_CACHE.glob(f"{NETWORK}-*"):
        result.unlink(missing_ok=True)
    memory = layout.root / "kernel.json"
    if memory.exists():
        for name, value in json.loads(memory.read_text(encoding="ascii")).items():
            if _read(name) != value:
                (_SYSCTL / name).write_text(value, encoding="ascii")
        memory.unlink()


def devices() -> list[str]:
    """Name the network devices of the cluster that are there."""
    bridge = [BRIDGE] if (Path("/sys/class/net") / BRIDGE).exists() else []
    return bridge + _cables() + ([NODE_ADDRESS] if _interface(NODE_ADDRESS) == "lo" else [])


def _cables() -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(port.name for port in (Path("/sys/class/net") / BRIDGE / "brif").iterdir())
    return []


def _interface(address: str) -> str | None:
    shown = json.loads(output(["ip", "-json", "address", "show"]))
    for device in shown:
        if any(one.get("local") == address for one in device.get("addr_info", ())):
            return str(device["ifname"])
    return None


def _read(name: str) -> str | None:
    try:
        return (_SYSCTL / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
