"""A site on this machine: a working folder with its processes, held by one llmatrix at a time.

A site is held by a lock of the operating system, which goes when its holder goes, however it
ends. A site that nobody holds and nobody asked to keep is an orphan, and may be swept by whoever
finds it; sweeping takes the same lock, so that two sweepers, or a sweeper and a run, never meet.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from llmatrix.errors import EnvironmentFault
from llmatrix.plan.step import STACK_STEPS, Step
from llmatrix.stacks import processes
from llmatrix.stacks.waiting import until

_PATIENCE_S: Final = 2.0  # whoever lists sites holds each lock for a moment


def state_folder() -> Path:
    """Where sites live: $LLMATRIX_STATE, else llmatrix in $XDG_STATE_HOME or ~/.local/state."""
    if own := os.environ.get("LLMATRIX_STATE"):
        return Path(own).absolute()
    shared = os.environ.get("XDG_STATE_HOME", "")
    base = Path(shared) if Path(shared).is_absolute() else Path.home() / ".local/state"
    return base / "llmatrix"


def site_folder(experiment: str, store_url: str, lane: int) -> Path:
    """Where a lane's site is: the same place for the same experiment and store, each time.

    ``store_url`` is absolute, so that experiments of one name in two places do not meet.
    """
    digest = hashlib.sha256(store_url.encode()).hexdigest()[:8]
    return state_folder() / "sites" / f"{experiment}-{digest}" / f"lane-{lane}"


class LocalSite:
    """A working folder, the keys of what stands there, and the processes that run from it.

    Made by ``LocalSite(folder)`` it only looks; ``LocalSite.open`` also holds the site, until
    ``close`` or the end of this process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Hold the site at ``folder``, made if need be; a mark to keep it is taken off.

        Raises:
            EnvironmentFault: another llmatrix holds it, or the folder cannot be made or locked.
        """
        site = cls(folder)
        try:
            if not until(site._try_hold, _PATIENCE_S):
                raise EnvironmentFault(_held_message(site))
            site._sign()
            site.outbox.mkdir(parents=True, exist_ok=True)
            site._kept_mark.unlink(missing_ok=True)
        except OSError as error:
            site.close()
            raise _unusable(folder, error) from error
        return site

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the site go; what stands there stays."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def folder(self) -> Path:
        """The whole site."""
        return self._folder

    @property
    def name(self) -> str:
        """How a reader knows it: ``<experiment>-<hash>/lane-<n>``."""
        return f"{self._folder.parent.name}/{self._folder.name}"

    @property
    def outbox(self) -> Path:
        """Files of the current trial that are to be uploaded."""
        return self._folder / "outbox"

    @property
    def kept(self) -> bool:
        """Whether a user asked to leave up what stands here."""
        return self._kept_mark.exists()

    def keep(self) -> None:
        """Mark the site so that nobody sweeps it before it is opened again."""
        self._kept_mark.touch()

    def holder(self) -> int | None:
        """Give the pid of the living llmatrix that holds the site; None if nobody does."""
        if self._lock is not None:
            return os.getpid()
        probe = LocalSite(self._folder)
        try:
            if not self._lock_file.exists() or probe._try_hold(os.O_RDWR):
                return None
        finally:
            probe.close()
        return self._holder_on_record()

    def claimed(self, step: Step) -> str | None:
        return self._keys().get(step)

    def claim(self, step: Step, key: str) -> None:
        self._write_keys({**self._keys(), step: key})

    def disclaim(self, step: Step) -> None:
        keys = self._keys()
        if keys.pop(step, None) is not None:
            self._write_keys(keys)

    def clear(self) -> list[str]:
        """End all processes of the site and take back the keys of what stood; only when held.

        What waits in the outbox stays.

        Returns:
            What could not be ended, in words.
        """
        for step in STACK_STEPS:
            self.disclaim(step)
        processes.seal(self._folder)
        return processes.end(processes.recorded(self._folder))

    @property
    def holds_measurement(self) -> bool:
        """Whether a trial was measured here whose record is not in the store yet."""
        return self.claimed(Step.WORKLOAD) is not None

    def discard(self) -> list[str]:
        """End all processes of the site, remove its folder and let it go; only when held.

        A measurement that is not in the store yet keeps the folder, without processes, so that
        the next run can upload it.

        Returns:
            What could not be ended or removed, in words; the folder is then still there, so that
            a later sweep tries again.
        """
        left = self.clear()
        if self.holds_measurement:
            return left
        if not left and self._folder.exists():
            shutil.rmtree(
                self._folder,
                onerror=lambda _, path, error: left.append(f"{path} cannot be removed: {error[1]}"),
            )
        if not left:
            # Still locked: whoever waits for this file sees that it is no longer the one there.
            self._lock_file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._folder.parent.rmdir()
        self.close()
        return left

    @property
    def _lock_file(self) -> Path:
        # Beside the folder, so that it can be held while the folder is removed.
        return self._folder.with_name(f"{self._folder.name}.lock")

    @property
    def _kept_mark(self) -> Path:
        return self._folder / "kept"

    def _sign(self) -> None:
        """Write into the lock who holds it, for the messages of others."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _try_hold(self, mode: int = os.O_RDWR | os.O_CREAT) -> bool:
        """Take the lock if nobody has it; true when it is ours."""
        try:
            if mode & os.O_CREAT:
                self._lock_file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._lock_file, mode | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, FileExistsError):
            return False  # a sweeper removes the experiment's folder just now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A sweeper may have removed the file between our open and our lock.
            if os.fstat(lock).st_ino == self._lock_file.stat().st_ino:
                self._lock = lock
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            os.close(lock)
            raise
        os.close(lock)
        return False

    def _holder_on_record(self) -> int:
        try:
            return int(self._lock_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0  # between taking the lock and writing its number

    def _keys(self) -> dict[str, str]:
        try:
            keys = json.loads((self._folder / "keys.json").read_bytes())
        except (OSError, ValueError):
            return {}  # nothing certain stands
        return keys if isinstance(keys, dict) else {}

    def _write_keys(self, keys: dict[str, str]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durably(self._folder / "keys.json", json.dumps(keys).encode())
        except OSError as error:
            raise _unusable(self._folder, error) from error


def write_durably(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, so that it outlives a crash of the machine."""
    new = file.with_name(f"{file.name}.new")
    with new.open("wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sites() -> Iterator[LocalSite]:
    """Give every site of this user on this machine, in order; none of them held by this call."""
    for experiment in _folders(state_folder() / "sites"):
        for folder in _folders(experiment):
            yield LocalSite(folder)


def _folders(parent: Path) -> list[Path]:
    """Give the folders in ``parent``; none if it is not there, or goes meanwhile."""
    try:
        return sorted(entry for entry in parent.iterdir() if entry.is_dir())
    except OSError:
        return []


def orphans() -> list[LocalSite]:
    """Give the sites that no living llmatrix holds and that nobody asked to keep."""
    return [site for site in sites() if not site.kept and site.holder() is None]


def sweep(site: LocalSite, *, kept: bool = False) -> list[str]:
    """End the processes of an orphan and remove it; leave it alone if somebody holds it by now.

    A site that a user asked to keep is swept only with ``kept``.

    Returns:
        What could not be ended or removed, in words.
    """
    held = LocalSite(site.folder)
    try:
        if not held._try_hold():  # noqa: SLF001 - of this class
            return []
        held._sign()  # noqa: SLF001 - of this class
        return [] if held.kept and not kept else held.discard()
    except OSError as error:
        return [f"{site.folder} could not be swept: {error.strerror}"]
    finally:
        held.close()


def _unusable(folder: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"the working folder {folder} cannot be used: {error.strerror}; "
        "set LLMATRIX_STATE to a folder on a local disk with space that you may write to"
    )


def _held_message(site: LocalSite) -> str:
    pid = site._holder_on_record()  # noqa: SLF001 - of this class
    who = f"another llmatrix (pid {pid})" if pid else "another llmatrix"
    stop = f", or stop it with: kill -INT {pid}" if pid else ""
    return f"{who} is running this experiment on {site.name}; wait until it has finished{stop}"
