"""The control group below which all pods live: whatever runs in it is the cluster's."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from llmatrix.stacks import process_table
from llmatrix.stacks.waiting import until
from tools.devcluster.faults import ClusterFault
from tools.devcluster.layout import CGROUP

_GRACE_S: Final = 3.0
_KILL_S: Final = 15.0
_UNIFIED: Final = Path("/sys/fs/cgroup")
_SHARE: Final = {"cpu.shares": "8192", "cpu.weight": "800"}
"""Of the CPU, eight times what one process has by itself: on a node of its own, where system
services share one group, pods outweigh them, too. Here they are processes beside the group."""


def make() -> None:
    """Make the group in every hierarchy; the kubelet wants to find it."""
    for group in _groups():
        group.mkdir(exist_ok=True)
        if group.parent == _UNIFIED:
            for control in (group.parent, group):
                _delegate(control)
        # A new cpuset (v1) is empty, and nothing can run in it.
        for name in ("cpuset.cpus", "cpuset.mems"):
            mine = group / name
            if mine.exists() and not mine.read_text(encoding="ascii").strip():
                mine.write_text((group.parent / name).read_text(encoding="ascii"), encoding="ascii")
        for name, share in _SHARE.items():
            if (group / name).exists():
                (group / name).write_text(share, encoding="ascii")


def members() -> set[int]:
    """Give the processes of all pods."""
    found: set[int] = set()
    for group in _groups():
        for folder in _below(group):
            with contextlib.suppress(OSError):  # it may go while we look
                found |= set(map(int, (folder / "cgroup.procs").read_text().split()))
    return found - {os.getpid()}


def end() -> None:
    """End the processes of all pods: ask, then make sure.

    Raises:
        ClusterFault: some do not end.
    """
    for number, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILL_S)):
        told: set[int] = set()

        def over(number: signal.Signals = number, told: set[int] = told) -> bool:
            left = {pid for pid in members() if process_table.find(pid) is not None}
            for pid in left - told:
                told.add(pid)
                entry = process_table.find(pid)
                if entry is not None:
                    process_table.send(entry, number)
            return not left

        if until(over, patience_s):
            return
    raise ClusterFault(f"processes of pods do not end: {sorted(members())}")


def remove() -> None:
    """Remove the group everywhere.

    Raises:
        ClusterFault: it cannot be removed.
    """
    if not until(_gone, _KILL_S):
        left = ", ".join(map(str, standing()))
        raise ClusterFault(f"control groups cannot be removed: {left}")


def standing() -> list[Path]:
    """Give the groups that are there."""
    return [group for group in _groups() if group.exists()]


def _gone() -> bool:
    for group in _groups():
        for folder in reversed(_below(group)):
            with contextlib.suppress(OSError):  # a process in it is not reaped yet
                folder.rmdir()
    return not standing()


def _below(group: Path) -> list[Path]:
    """Give the group and all below it, parents first."""
    return [Path(folder) for folder, _, _ in os.walk(group)]


def _groups() -> list[Path]:
    """Give our group in each hierarchy that this machine has mounted."""
    if (_UNIFIED / "cgroup.controllers").exists():
        return [_UNIFIED / CGROUP]
    rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    mounts = [row.split()[4] for row in rows if row.partition(" - ")[2].startswith("cgroup ")]
    return [Path(mount) / CGROUP for mount in dict.fromkeys(mounts)]


def _delegate(group: Path) -> None:
    given = (group / "cgroup.controllers").read_text(encoding="ascii").split()
    for controller in given:
        with contextlib.suppress(OSError):  # not every controller can be handed on
            (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
