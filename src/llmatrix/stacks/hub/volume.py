"""The volume that models lie on: a folder each, whole once its marker is there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.stacks.hub.fetching import PARTIAL, stands
from llmatrix.stacks.hub.told import size
from llmatrix.stacks.hub.wanted import File, Wanted
from llmatrix.stacks.local_site import write_durably

MARKER: Final = ".llmatrix-whole.json"
"""File in a model's folder, written last: what lies there, by path, size and hash."""
_LOCK: Final = ".llmatrix-lock"
_EVERY_S: Final = 1.0
_HEADROOM: Final = 1.05
"""For what a file system keeps for itself."""
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume, by the folder that it is mounted at."""

    root: Path

    def folder(self, wanted: Wanted) -> Path:
        """Give the folder of a model."""
        return self.root / wanted.folder

    def whole(self, wanted: Wanted) -> list[File] | None:
        """Give the files of a model if all of them are there; None if not."""
        folder = self.folder(wanted)
        try:
            listed = [File(**each) for each in json.loads((folder / MARKER).read_bytes())]
        except (OSError, ValueError, TypeError):
            return None
        return listed if all(stands(folder / each.path, each) for each in listed) else None

    def mark(self, wanted: Wanted, files: Sequence[File]) -> None:
        """Say that a model is whole; durable when it returns."""
        folder = self.folder(wanted)
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        write_durably(folder / MARKER, json.dumps([asdict(each) for each in files]).encode())

    def unmark(self, wanted: Wanted) -> None:
        """Take back that a model is whole."""
        (self.folder(wanted) / MARKER).unlink(missing_ok=True)

    def free(self) -> int:
        """Give the bytes that can yet be written."""
        return shutil.disk_usage(self.root).free

    def make_room(self, wanted: Wanted, missing: int) -> list[str]:
        """Remove other models, the ones that came first before others, until so much is free.

        Nothing is removed where all of it together would not do.

        Returns:
            The folders that were removed.
        """
        others = sorted(self._others(wanted), key=lambda each: each.stat().st_mtime)
        if self.free() + sum(map(_bytes_of, others)) < missing:
            return []
        removed = []
        for each in others:
            if self.free() >= missing:
                break
            (each / MARKER).unlink(missing_ok=True)  # first: it is not whole from now on
            shutil.rmtree(each)
            removed.append(str(each.relative_to(self.root)))
        return removed

    def full(self, wanted: Wanted, total: int, missing: int) -> StepFailure:
        """Say that a model does not fit, and what size would do."""
        space = shutil.disk_usage(self.root)
        held = sum(map(_bytes_of, self._others(wanted)))
        others = f", other models take {size(held)}" if held else ""
        asked = -(-int((total + held) * _HEADROOM) // _GIB)
        return StepFailure(
            f"the volume is full: {wanted.repo} needs {size(total)}, {size(missing)} of it are "
            f"yet to come, and {size(space.free)} of {size(space.total)} are free{others}. Set "
            f"stack.model.size to {asked}Gi or more.",
            FailureClass.USER,
        )

    @contextlib.contextmanager
    def alone(self, stop: threading.Event, say: Callable[[str], None]) -> Iterator[None]:
        """Let nobody else download to the volume meanwhile, as far as its file system can.

        Raises:
            Stopped: ``stop`` was set while another had it.
        """
        with (self.root / _LOCK).open("w") as lock:
            told = False
            while not _locked(lock.fileno()):
                if not told:
                    say("another download to the volume is waited for")
                    told = True
                if stop.wait(_EVERY_S):
                    raise Stopped("stopped while waiting for another download")
            yield

    def _others(self, wanted: Wanted) -> list[Path]:
        own = self.folder(wanted)
        kept = [*self.root.glob(f"*/*/{MARKER}"), *self.root.glob(f"*/*/{PARTIAL}")]
        return [each for each in {path.parent for path in kept} if each != own]


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems know no locks; the hashes tell what two spoilt for each other.
        if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
    return True


def _bytes_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
