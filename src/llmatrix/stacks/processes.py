"""Processes that never leak: each is recorded before it runs, and ended with all its descendants.

A small shell script is started in a session of its own. It writes its pid, its start time and the
boot id to a file of the site and only then becomes the wanted program, so that there is no moment
at which a program runs that nobody has on record, whatever kills llmatrix when. Whoever comes
later finds the record, and ends exactly that process and what it started; if the number was given
to another process meanwhile, start time or boot id differ and it is left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.stacks import process_table
from llmatrix.stacks.process_table import Entry
from llmatrix.stacks.waiting import until

GRACE_S: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_KILL_S: Final = 10.0
_RECORD_S: Final = 30.0
MARKER: Final = "LLMATRIX_LAUNCH"
"""Environment variable whose value is unique to one launch; all descendants inherit it."""

# Constant: what differs from launch to launch comes as arguments. Its variables have odd names
# because a shell exports those that it found in its environment.
_LAUNCHER: Final = r"""
_llmx_file=$1 _llmx_machine=$2; shift 2
if [ -r /proc/self/stat ]; then
  read -r _llmx_start < "/proc/$$/stat"; read -r _llmx_boot < /proc/sys/kernel/random/boot_id
else
  _llmx_start=$(LC_ALL=C ps -o lstart= -p $$); _llmx_boot=$(sysctl -n kern.bootsessionuuid)
fi
printf '%s\n' "$$" "$_llmx_start" "$_llmx_boot" "$_llmx_machine" > "$_llmx_file.new" || exit 75
command -p mv -f -- "$_llmx_file.new" "$_llmx_file" || exit 75
unset _llmx_file _llmx_machine _llmx_start _llmx_boot
exec "$@"
"""

# Our own children, by launch: a zombie is its parent's to reap.
_children: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """One started process, for ever.

    Attributes:
        name: what it is to the site: ``router`` or ``server``.
        launch: value of ``MARKER`` in its environment.
        pid, started, boot, machine: which process, since when, in which boot of which machine.
        file: where this is recorded.
    """

    name: str
    launch: str
    pid: int
    started: str
    boot: str
    machine: str
    file: Path


def start(
    name: str,
    command: Sequence[str],
    site: Path,
    *,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> Identity:
    """Start ``command`` in a session of its own; what it prints goes to ``logs/NAME.log``.

    Returns as soon as its identity is on record, which is before the program itself runs. A
    program that cannot be executed ends with ``exit_status`` 126 or 127.

    Raises:
        StepFailure: it could not be recorded or started; nothing runs then.
        Stopped: ``stop`` was set meanwhile; nothing runs then.
    """
    launch = secrets.token_hex(16)
    record = site / "processes" / f"{name}.{launch}"
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        child = _spawn(_command(record, command), log_file(site, name), launch, environment or {})
    except OSError as error:
        raise _not_started(name, site, error.strerror or str(error)) from error
    _children[launch] = child
    try:
        until(lambda: record.exists() or child.poll() is not None, _RECORD_S, stop=stop)
        identity = read(record)
    except Stopped:
        _abandon(child, record)
        raise
    if identity is None:
        _abandon(child, record)
        raise _not_started(name, site, "its identity could not be recorded")
    return identity


def read(record: Path) -> Identity | None:
    """Read the record of one process; None if there is none, or it makes no sense."""
    try:
        pid, start_line, boot, machine = record.read_text(encoding="utf-8").splitlines()
        entry = process_table.parse_stat(start_line)
        started = entry.started if entry else " ".join(start_line.split())
        name, _, launch = record.name.rpartition(".")
        return Identity(name, launch, int(pid), started, boot.strip(), machine, record)
    except (OSError, ValueError):
        return None


def recorded(site: Path, name: str | None = None) -> list[Identity]:
    """Give the processes on record at the site, alive or not; only those called ``name``."""
    records = sorted(site.glob("processes*/*"))
    found = [read(record) for record in records if record.suffix != ".new"]
    return [one for one in found if one is not None and name in {None, one.name}]


def alive(identity: Identity) -> bool:
    """Tell whether exactly this process still runs; a zombie of ours is reaped."""
    exit_status(identity)
    entry = process_table.find(identity.pid)
    return (
        entry is not None
        and entry.started == identity.started
        and identity.boot == process_table.boot()
    )


def exit_status(identity: Identity) -> int | None:
    """Give the exit status of a child of ours (negative: the signal); None if it runs, or is not.

    Of a process that another llmatrix started, nobody here can tell.
    """
    child = _children.get(identity.launch)
    return None if child is None else child.poll()


def end(identities: Iterable[Identity], *, grace_s: float = GRACE_S) -> list[str]:
    """End these processes and all that they started: ask by SIGTERM, then make sure by SIGKILL.

    Returns when none is left, and forgets their records; what could not be ended stays on record.

    Returns:
        What could not be ended, in words; empty when nothing is left.
    """
    here = process_table.boot()
    wanted = list(identities)
    elsewhere = [i for i in wanted if i.boot != here and i.machine != process_table.machine()]
    ours = [i for i in wanted if i not in elsewhere]
    hunt = _Hunt([identity for identity in ours if identity.boot == here])
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
        hunt.told.clear()
        if until(partial(hunt.over, number), patience_s, every_s=0.1):
            break
    left = {identity.launch for identity in hunt.members.values()}
    for identity in ours:
        if identity.launch not in left:
            identity.file.unlink(missing_ok=True)
            child = _children.pop(identity.launch, None)
            if child is not None:
                child.wait()  # it has ended, but may have done so after it was last reaped
    return [
        f"process {entry.pid} ({identity.name}) does not end, not even by SIGKILL"
        f"{hunt.refused.get(entry, '')}; see: ps -o pid,user,stat,wchan,args -p {entry.pid}"
        for entry, identity in hunt.members.items()
    ] + [
        f"process {one.pid} ({one.name}) was started on machine '{one.machine}' and can only be "
        f"ended there; if it is gone, remove {one.file}"
        for one in elsewhere
    ]


class _Hunt:
    """Finds and signals all that descends from some launches, until nothing is left."""

    def __init__(self, identities: list[Identity]) -> None:
        self.identities = identities
        self.members: dict[Entry, Identity] = {}
        self.told: set[Entry] = set()
        self.refused: dict[Entry, str] = {}

    def over(self, number: signal.Signals) -> bool:
        """Signal whoever is left and was not told yet; true when nobody is left."""
        for identity in self.identities:
            exit_status(identity)
        running = process_table.entries()
        known = {entry: self.members[entry] for entry in running if entry in self.members}
        for identity in self.identities:
            before = {entry for entry, whose in known.items() if whose is identity}
            known |= dict.fromkeys(_descendants(identity, running, before), identity)
        self.members = known
        for entry in self.members.keys() - self.told:
            self.told.add(entry)
            try:
                process_table.send(entry, number)
            except PermissionError:
                self.refused[entry] = ", for it belongs to another user"
        return not self.members


def _descendants(identity: Identity, running: list[Entry], known: set[Entry]) -> set[Entry]:
    """Find the processes of one launch: those that carry its marker, and their whole session.

    A session keeps its number from being given away as long as anybody is in it. So if one member
    is certainly ours (the leader itself, one with the marker, one already known), all of them are,
    also those that have overwritten their environment.
    """
    marker = f"{MARKER}={identity.launch}"
    marked = {entry for entry in running if process_table.carries(entry, marker)}
    session = {entry for entry in running if entry.session == identity.pid}
    certain = marked | known
    if any(
        entry in certain or (entry.pid == identity.pid and entry.started == identity.started)
        for entry in session
    ):
        return marked | session
    return marked


def seal(site: Path) -> None:
    """Keep launches that are still under way from being recorded here, so that they end unrun.

    Called before what is on record is ended for good: a launcher whose llmatrix was killed a
    moment ago finds no folder to write to.
    """
    with contextlib.suppress(FileNotFoundError):
        (site / "processes").rename(site / f"processes.{secrets.token_hex(4)}")


def log_file(site: Path, name: str) -> Path:
    """Where the process called ``name`` prints to."""
    return site / "logs" / f"{name}.log"


def log_tail(file: Path, max_bytes: int = 4096) -> str:
    """Give the last whole lines of a log, at most ``max_bytes`` of them; empty if there is none."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - max_bytes))
            content = log.read(max_bytes)
    except OSError:
        return ""
    if size > max_bytes:
        content = content.partition(b"\n")[2] or content
    return content.decode(errors="replace")


def _command(record: Path, command: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", _LAUNCHER, "llmatrix", str(record), process_table.machine(), *command]


def _spawn(
    command: list[str], log: Path, launch: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    # setproctitle (vLLM) would overwrite the environment that the marker is read from.
    ours = {MARKER: launch, "SPT_NOENV": "1"}
    log.unlink(missing_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, **ours},
            start_new_session=True,
        )


def _abandon(child: subprocess.Popen[bytes], record: Path) -> None:
    """End a launch that never was on record, or that nobody wants any more."""
    if child.poll() is None:
        # Nobody else reaps this child, so the number of its group is still its own.
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    identity = read(record)
    if identity is not None:
        end([identity])


def _not_started(name: str, site: Path, reason: str) -> StepFailure:
    return StepFailure(
        f"the {name} could not be started on {site}: {reason}",
        FailureClass.ENVIRONMENT,
        log=log_tail(log_file(site, name)),
    )
