"""Which process is meant: pid, start time and boot, recorded in a file of the site."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmatrix.stacks import process_table

MARKER: Final = "LLMATRIX_LAUNCH"
"""Environment variable whose value is unique to one launch; all descendants inherit it."""

# Our own children, by launch: a zombie is its parent's to reap.
children: Final[dict[str, subprocess.Popen[bytes]]] = {}


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
    child = children.get(identity.launch)
    return None if child is None else child.poll()


def seal(site: Path) -> None:
    """Keep launches that are still under way from being recorded here, so that they end unrun.

    Called before what is on record is ended for good: a launcher whose llmatrix was killed a
    moment ago finds no folder to write to.
    """
    with contextlib.suppress(FileNotFoundError):
        (site / "processes").rename(site / f"processes.{secrets.token_hex(4)}")
