"""``python -m tools.devcluster.proofs``: the figures that docs/how-to/real-cluster.md quotes.

Each prints what it measured and ends with 1 if it was not as it should be. All of them take the
cluster of this machine down and up again.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from llmatrix.stacks import process_table
from llmatrix.stacks.waiting import until
from tools.devcluster import cgroups, cluster, leftovers, running
from tools.devcluster.command import output
from tools.devcluster.faults import ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import Layout, layout

_LIMIT_S: Final = 60.0
_SHIM: Final = "containerd-shim"
_OURS: Final = re.compile(r"kube|etcd|containerd|pause|coredns|provisioner|resolvers|webhook")


@click.group()
def proofs() -> None:
    """Show that the cluster is quick, leaves nothing behind and mends."""


@proofs.command()
def cold() -> None:
    """Wipe, then bring up, programs built before."""
    place = layout()
    cluster.prepare()
    wiped = _timed(lambda: cluster.wipe(place))
    seconds = _timed(lambda: cluster.up(place))
    print(f"up after a wipe: {seconds:.1f} s (limit {_LIMIT_S:.0f} s); the wipe {wiped:.1f} s")
    sys.exit(seconds > _LIMIT_S)


@proofs.command()
@click.argument("times", type=int, default=50)
def cycles(times: int) -> None:
    """Take down and bring up, TIMES over; after a last wipe nothing may be left."""
    place = layout()
    cluster.wipe(place)
    before = _machine()
    cluster.up(place)
    ups, downs = [], []
    for number in range(1, times + 1):
        downs.append(_timed(lambda: cluster.down(place)))
        ups.append(_timed(lambda: cluster.up(place)))
        print(f"cycle {number}: down {downs[-1]:.1f} s, up {ups[-1]:.1f} s", flush=True)
    cluster.wipe(place)
    left = leftovers.found(place) + sorted(_machine() - before)
    print(f"{times} cycles, all healthy; up {_spread(ups)}, down {_spread(downs)}")
    print(f"left after wipe: {', '.join(left) or 'nothing'}")
    sys.exit(bool(left))


@proofs.command()
def kills() -> None:
    """Kill each process of the cluster, one after the other; ``up`` must mend it."""
    place = layout()
    cluster.up(place)
    for name in sorted(running.standing(place)):
        identity = running.standing(place)[name]
        _kill(identity.pid)
        seconds = _timed(lambda: cluster.up(place))
        mended = running.standing(place)[name].pid != identity.pid
        print(f"kill -9 {name}: healthy again after {seconds:.1f} s", flush=True)
        if not mended:
            raise ClusterFault(f"{name} was not started again")
    for name in sorted({*_in_pods().values(), _SHIM}):
        before = _called(name)
        victim = min(before)
        _kill(victim)
        seconds = _timed(partial(_mend_pods, place, name, len(before), victim))
        print(f"kill -9 {name} of a pod: healthy again after {seconds:.1f} s", flush=True)


@proofs.command()
@click.argument("side", type=int, default=4)
def matrix(side: int) -> None:
    """Run a SIDE × SIDE matrix of trivial tasks."""
    place = layout()
    parts = cluster.up(place)
    kubectl = cluster.administrator(place, parts)
    kubectl.run("delete", "pipelinerun", "proof", "--ignore-not-found")
    kubectl.apply([_matrix(side, parts.images["busybox"].name)])
    ended: dict[str, Any] = {}
    seconds = _timed(lambda: ended.update(_ended(kubectl)))
    runs = kubectl.get("taskruns", "-l", "tekton.dev/pipelineRun=proof")["items"]
    good = sum(_condition(run).get("status") == "True" for run in runs)
    print(f"{side} × {side} matrix: {good} of {side * side} tasks succeeded in {seconds:.1f} s")
    sys.exit(good != side * side or _condition(ended).get("status") != "True")


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return (
        f"{ordered[0]:.1f} to {ordered[-1]:.1f} s, half within {ordered[len(ordered) // 2]:.1f} s"
    )


def _machine() -> set[str]:
    """Describe what a cluster could leave on this machine, without asking the cluster's code."""
    links = [f"device {one['ifname']}" for one in json.loads(output(["ip", "-json", "link"]))]
    mounts = [f"mount {row.split()[1]}" for row in Path("/proc/mounts").read_text().splitlines()]
    rules = [f"{tool}: {row}" for tool in ("iptables", "ip6tables") for row in _rules(tool)]
    names = [output(["ps", "-e", "-o", "stat=,pid=,comm="])]
    rows = [row.split(maxsplit=2) for row in names[0].splitlines()]
    processes = [f"process {pid} ({name})" for state, pid, name in rows if _left(state, name)]
    return {*links, *mounts, *rules, *processes}


def _rules(tool: str) -> list[str]:
    rows = output([f"{tool}-save"]).splitlines()
    return [re.sub(r" \[\d+:\d+\]$", "", row) for row in rows if not row.startswith("#")]


def _left(state: str, name: str) -> bool:
    # One that has ended and that init has not buried yet is not the cluster's any more.
    return not state.startswith("Z") and _OURS.search(name) is not None


def _mend_pods(place: Layout, name: str, count: int, victim: int) -> None:
    """Wait until the kubelet has as many of these processes as before, without the killed one."""

    def mended() -> bool:
        return len(_called(name)) >= count and victim not in _called(name)

    if not until(mended, 120.0, every_s=0.2):
        raise ClusterFault(f"{name} was not started again")
    cluster.up(place)


def _called(name: str) -> set[int]:
    if name == _SHIM:
        rows = output(["ps", "-e", "-o", "pid=,comm="]).splitlines()
        return {int(row.split()[0]) for row in rows if row.split()[1].startswith(_SHIM)}
    return {pid for pid, program in _in_pods().items() if program == name}


def _in_pods() -> dict[int, str]:
    """Give what runs in pods: a process → its program."""
    found = {}
    for pid in cgroups.members():
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return found


def _kill(pid: int) -> None:
    entry = process_table.find(pid)
    if entry is None:
        raise ClusterFault(f"process {pid} ended before it was killed")
    process_table.send(entry, signal.SIGKILL)
    until(lambda: process_table.find(pid) is None, 10.0)


def _matrix(side: int, image: str) -> dict[str, Any]:
    levels = [str(level) for level in range(side)]
    step = {"name": "say", "image": image, "command": ["echo", "$(params.a)", "$(params.b)"]}
    spec = {"params": [{"name": "a"}, {"name": "b"}], "steps": [step]}
    params = [{"name": name, "value": levels} for name in ("a", "b")]
    task = {"name": "each", "taskSpec": spec, "matrix": {"params": params}}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "proof", "namespace": "default"},
        "spec": {"pipelineSpec": {"tasks": [task]}},
    }


def _ended(kubectl: Kubectl) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        run: dict[str, Any] = kubectl.get("pipelinerun", "proof")
        return run if _condition(run).get("status") in {"True", "False"} else None

    run = until(ended, 300.0, every_s=0.25)
    if run is None:
        raise ClusterFault("the matrix did not end within 300 s")
    return run


def _condition(run: dict[str, Any]) -> dict[str, Any]:
    found = run.get("status", {}).get("conditions", ())
    return next((dict(one) for one in found if one["type"] == "Succeeded"), {})


if __name__ == "__main__":
    proofs()
