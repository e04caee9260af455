"""Starts the processes of the cluster and knows again those that it started."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from llmatrix.errors import StepFailure
from llmatrix.stacks import processes
from llmatrix.stacks.processes import Identity
from llmatrix.stacks.waiting import until
from tools.devcluster.components import Component
from tools.devcluster.faults import ClusterFault
from tools.devcluster.layout import Layout

_READY_S: Final = 120.0


def standing(layout: Layout) -> dict[str, Identity]:
    """Give the processes that we started and that still run, by name."""
    recorded = processes.recorded(layout.root)
    return {identity.name: identity for identity in recorded if processes.alive(identity)}


def recorded(layout: Layout) -> set[str]:
    """Name the processes that were started here, whether they still run or not."""
    return {identity.name for identity in processes.recorded(layout.root)}


def start(layout: Layout, wanted: Iterable[Component]) -> None:
    """Start those that do not run; returns at once.

    Raises:
        ClusterFault: a port is taken, or a program cannot be started.
    """
    there = standing(layout)
    for component in wanted:
        if component.name in there:
            continue
        _check_ports(component)
        try:
            processes.start(component.name, component.command, layout.root)
        except StepFailure as failure:
            raise ClusterFault(str(failure)) from failure


def await_ready(layout: Layout, wanted: Sequence[Component]) -> None:
    """Wait until all of them answer.

    Raises:
        ClusterFault: one ended or does not answer in time; the message shows its log.
    """
    left = list(wanted)

    def settled() -> bool:
        left[:] = [component for component in left if not component.ready()]
        there = standing(layout)
        fallen = [component.name for component in left if component.name not in there]
        if fallen:
            raise _silent(layout, fallen, "ended before it was ready")
        return not left

    if not until(settled, _READY_S, every_s=0.1):
        names = [component.name for component in left]
        raise _silent(layout, names, f"not ready within {_READY_S:.0f} s")


def since(layout: Layout, name: str) -> float:
    """Give when we started this process, in seconds since 1970; 0 if it does not run."""
    identity = standing(layout).get(name)
    return identity.file.stat().st_mtime if identity else 0.0


def end(layout: Layout, names: Sequence[str], *, grace_s: float = 10.0) -> None:
    """End these and all that they started.

    Raises:
        ClusterFault: some do not end.
    """
    ending = [one for one in processes.recorded(layout.root) if one.name in names]
    left = processes.end(ending, grace_s=grace_s)
    if left:
        raise ClusterFault("\n".join(left))


def _silent(layout: Layout, names: Sequence[str], what: str) -> ClusterFault:
    log = processes.log_file(layout.root, names[0])
    tail = processes.log_tail(log, 2000)
    return ClusterFault(f"{', '.join(names)}: {what}; {log} ends with\n{tail}")


def _check_ports(component: Component) -> None:
    for address, port in component.ports:
        with _tcp() as listener:
            try:
                listener.bind((address, port))
            except OSError as error:
                raise ClusterFault(
                    f"{component.name} cannot listen at {address}:{port}: {error.strerror}; "
                    f"who does: ss -ltnp 'sport = :{port}'"
                ) from error


@contextlib.contextmanager
def _tcp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield listener
