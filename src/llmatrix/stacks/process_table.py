"""What the operating system says about processes: /proc on Linux, ``ps`` elsewhere.

A pid alone names nobody, for numbers are used again; together with the moment the process started
and the boot it started in, it names one process for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_START_FIELD: Final = 19  # field 22 of stat, counted from the one after the name (proc(5))


@dataclass(frozen=True, slots=True)
class Entry:
    """One process that has not ended (a zombie has).

    Attributes:
        pid: its number.
        session: the session it belongs to: the pid of the process that made the session.
        started: when it started, in the system's own notation; only good for comparing.
    """

    pid: int
    session: int = field(compare=False)  # a process may make itself another one
    started: str


def machine() -> str:
    """Name this machine."""
    return socket.gethostname()


def boot() -> str:
    """Name the time since this machine last started; empty where it has no name."""
    with contextlib.suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return _output("sysctl", "-n", "kern.bootsessionuuid").strip()


def find(pid: int) -> Entry | None:
    """Give the process that has this number now; None if there is none or it has ended."""
    if _has_proc():
        return _read_stat(pid)
    return next(iter(_ps("-p", str(pid))), None)


def entries() -> list[Entry]:
    """Give all processes that have not ended."""
    if not _has_proc():
        return list(_ps("-A"))
    return [entry for entry in map(_read_stat, _pids()) if entry is not None]


def marked(variable: str) -> dict[int, str]:
    """Give the value of an environment variable of each process that was started with it, by pid.

    A process that we may not look at is left out: it is not one of ours.
    """
    if not _has_proc():
        return dict(_ps_environment(variable))
    prefix = f"{variable}=".encode()
    found: dict[int, str] = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            content = (_PROC / str(pid) / "environ").read_bytes()
            for setting in content.split(b"\0") if prefix in content else ():
                if setting.startswith(prefix):
                    found[pid] = setting[len(prefix) :].decode(errors="replace")
    return found


def send(entry: Entry, number: signal.Signals) -> None:
    """Send a signal to exactly this process; nothing happens if it ended meanwhile.

    Raises:
        PermissionError: it belongs to somebody else.
    """
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):
            if find(entry.pid) == entry:
                os.kill(entry.pid, number)
            return
        # The descriptor is bound to the process, so it cannot be taken for a later one.
        descriptor = os.pidfd_open(entry.pid)
        try:
            if find(entry.pid) == entry:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _has_proc() -> bool:
    return (_PROC / "self/stat").exists()


def _pids() -> list[int]:
    return [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit()]


def parse_stat(line: str) -> Entry | None:
    """Read a line of /proc/PID/stat; None for one that has ended.

    The name in parentheses may itself hold spaces and parentheses, so fields count from its end.
    """
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    if len(fields) <= _START_FIELD or fields[0] in "ZXx":
        return None
    return Entry(int(head.partition(" ")[0]), session=int(fields[3]), started=fields[_START_FIELD])


def _read_stat(pid: int) -> Entry | None:
    try:
        content = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return parse_stat(content.decode(errors="replace"))


def _ps(*selection: str) -> Iterator[Entry]:
    """Read ``ps``; a session there is taken to be its first process group, as we start them."""
    for line in _output("ps", *selection, "-o", "pid=,pgid=,stat=,lstart=").splitlines():
        pid, group, state, *started = line.split()
        if not state.startswith(("Z", "X")):
            yield Entry(int(pid), session=int(group), started=" ".join(started))


def _ps_environment(variable: str) -> Iterator[tuple[int, str]]:
    """Read the environments that ``ps`` shows behind the commands; for values without spaces."""
    for line in _output("ps", "axeww", "-o", "pid=,command=").splitlines():
        pid, *words = line.split()
        for word in words:
            if word.startswith(f"{variable}="):
                yield int(pid), word.partition("=")[2]


def _output(*command: str) -> str:
    with contextlib.suppress(OSError):
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        ).stdout
    return ""
