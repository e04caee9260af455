"""Bringing up one process of a site: end what stands, start, wait until it is ready or dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from llmatrix.errors import FailureClass, StepFailure
from llmatrix.stacks import processes
from llmatrix.stacks.processes import Identity
from llmatrix.stacks.waiting import until

_NOT_EXECUTED: Final = {126, 127}  # what a shell ends with when exec fails (POSIX)


def bring_up(
    name: str,
    command: Sequence[str],
    site: Path,
    *,
    ready: Callable[[Identity], bool],
    timeout_s: float,
    stop: threading.Event,
    environment: Mapping[str, str] | None = None,
    every_s: float = 0.05,
) -> Identity:
    """Start ``command`` as ``name`` of the site and return once ``ready`` says so.

    Whatever ran under that name is ended before. If it does not become ready, it is ended too, so
    that a failure leaves nothing running. It is asked at least every ``every_s`` seconds.

    Raises:
        StepFailure: it ended while starting, was not ready in time, or could not be started.
        Stopped: ``stop`` was set meanwhile.
    """
    take_down(name, site)
    identity = processes.start(name, command, site, environment=environment, stop=stop)
    is_ready = False
    try:
        until(
            lambda: ready(identity) or not processes.alive(identity),
            timeout_s,
            stop=stop,
            every_s=every_s,
        )
        # Asked again, for a probe may have been answered by something else on a dead one's port.
        is_ready = processes.alive(identity) and ready(identity)
        if not is_ready:
            raise _not_ready(name, command, site, identity, timeout_s)
    finally:
        if not is_ready:
            processes.end([identity])
    return identity


@contextmanager
def writing(site: Path) -> Iterator[None]:
    """Turn what the file system refuses meanwhile into a failure of the machine.

    Raises:
        StepFailure: a file of the site could not be written or removed.
    """
    try:
        yield
    except OSError as error:
        raise StepFailure(
            f"files of the site {site} cannot be written: {error.strerror or error}",
            FailureClass.ENVIRONMENT,
        ) from error


def take_down(name: str, site: Path) -> None:
    """End all that ran as ``name`` of the site.

    Raises:
        StepFailure: something could not be ended.
    """
    left = processes.end(processes.recorded(site, name))
    if left:
        raise StepFailure("; ".join(left), FailureClass.ENVIRONMENT)


def ended(site: Path) -> int:
    """Count the processes on record at the site that no longer run."""
    return sum(not processes.alive(identity) for identity in processes.recorded(site))


def logs(site: Path, *, max_bytes: int = 256 * 1024) -> dict[str, str]:
    """Give the last part of each log of the site, by file name."""
    files = sorted((site / "logs").glob("*.log"))
    return {file.name: processes.log_tail(file, max_bytes) for file in files}


def _not_ready(
    name: str, command: Sequence[str], site: Path, identity: Identity, timeout_s: float
) -> StepFailure:
    file = processes.log_file(site, name)
    log = processes.log_tail(file)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "it printed nothing")
    failure = FailureClass.SERVER
    status = processes.exit_status(identity)
    if processes.alive(identity):
        what = f"was not ready within {timeout_s:g} s"
    elif status in _NOT_EXECUTED:
        what, failure = "could not be executed", FailureClass.USER
    else:
        what = f"ended while it was starting ({_why(status)})"
    message = f"the {name} ({command[0]} …) {what}; its last line: {last}"
    return StepFailure(message, failure, log=log)


def _why(status: int | None) -> str:
    if status is None:
        return "exit status unknown"
    return f"by signal {-status}" if status < 0 else f"exit status {status}"
