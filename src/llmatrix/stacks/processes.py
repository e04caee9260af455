"""Processes that never leak: each is recorded before it runs, and ended with all its descendants.

A small shell script is started in a session of its own. It writes its pid, its start time and the
boot id to a file of the site and only then becomes the wanted program, so that there is no moment
at which a program runs that nobody has on record, whatever kills llmatrix when. Whoever comes
later finds the record, and ends exactly that process and what it started; if the number was given
to another process meanwhile, start time or boot id differ and it is left alone.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.stacks import process_table
from llmatrix.stacks.ending import end
from llmatrix.stacks.identity import (
    MARKER,
    Identity,
    alive,
    children,
    exit_status,
    read,
    recorded,
    seal,
)
from llmatrix.stacks.waiting import until

__all__ = [
    "MARKER",
    "Identity",
    "alive",
    "end",
    "exit_status",
    "log_file",
    "log_tail",
    "recorded",
    "seal",
    "start",
]

_RECORD_S: Final = 30.0

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
    children[launch] = child
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
