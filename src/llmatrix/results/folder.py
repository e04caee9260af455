"""A store that is a folder: every put is atomic, durable and safe beside other writers."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from llmatrix.errors import StoreFault, UserError
from llmatrix.results.store import Store

TEMPORARY: Final = ".llmatrix-part-"
"""How the name of a file begins that is still being written; never a name of the store."""
LEFTOVER_S: Final = 60.0
"""Age from which an unlocked temporary file is certainly the leftover of a killed writer."""

_UNFIT: Final = re.compile(
    rf"(?:^|/)(?:\.{{0,2}}(?:/|$)|{re.escape(TEMPORARY)})|[\x00-\x1f\x7f\\\ud800-\udfff]"
)
"""Empty parts, ``.``, ``..``, temporary names, control characters, backslashes, lone surrogates."""

_REASONS: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "the file would exceed the largest size allowed here; raise that limit",
    errno.EACCES: "there is no right to do that; change the folder's rights",
    errno.EPERM: "there is no right to do that; change the folder's rights",
    errno.EROFS: "the file system is read-only; choose another store",
    errno.ENOTDIR: "something on the way there is a file, not a folder; choose another store",
    errno.EEXIST: "something on the way there is a file, not a folder; choose another store",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
}


def open_store(url: str, *, folder: Path) -> Store:
    """Open the store that a user named.

    Args:
        url: a folder, relative to ``folder``; ``file://`` and an absolute one; or
            ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``; to read,
            ``pvc://namespace/claim`` of the cluster that the kubeconfig names.
        folder: where the experiment file is.

    Raises:
        UserError: no store of that kind exists, or its URL carries credentials.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return FolderStore(folder / Path(url).expanduser())
    if scheme == "file":
        return FolderStore(Path(rest))
    if scheme == "pvc":
        from llmatrix.results.claim import open_claim  # noqa: PLC0415 - only it needs a cluster

        return open_claim(url)
    if scheme not in {"s3", "gs", "az"}:
        raise UserError(
            f"there is no store of kind '{scheme}://'; records are kept in a folder such as "
            f"results/, or in s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        )
    from llmatrix.results.objects import open_object_store  # noqa: PLC0415 - not for folders

    return open_object_store(url)


def check_name(name: str) -> str:
    """Give ``name`` back if it stays inside a store.

    Raises:
        UserError: it is empty or absolute, leads out, or holds what no file name may hold.
    """
    if _UNFIT.search(name) is not None:
        raise UserError(
            f"{name!r} cannot be a name in a store: names are relative, with plain parts between "
            f"slashes, and neither '..' nor control characters"
        )
    return name


class FolderStore:
    """A folder on this machine (or one that several machines mount)."""

    parallel = 1

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - keeps symbolic links as named
        self._swept: set[str] = set()

    @property
    def url(self) -> str:
        return str(self._root)

    def put(self, name: str, content: bytes | Path) -> None:
        path = self._root / check_name(name)
        self._sweep_once(name)
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            _make_folder(path.parent)
            try:
                _write(temporary, content)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            self._fault(error, name, "written", "what was there before is still there")

    def get(self, name: str) -> bytes:
        path = f"{self._root}/{check_name(name)}"
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - twice as quick as a Path
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(name) from None
        except OSError as error:
            self._fault(error, name, "read")

    def local(self, name: str) -> Path:
        path = self._root / check_name(name)
        if not path.is_file():
            raise KeyError(name)
        return path

    def exists(self, name: str) -> bool:
        return (self._root / check_name(name)).is_file()

    def open(self, name: str, *, buffer_bytes: int = 1024 * 1024) -> BinaryIO:
        path = self._root / check_name(name)
        try:
            return path.open("rb", buffering=buffer_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(name) from None
        except OSError as error:
            self._fault(error, name, "read")

    def sizes(self, prefix: str = "") -> dict[str, int]:
        return {name: (self._root / name).stat().st_size for name in self.names(prefix)}

    def names(self, prefix: str = "") -> Iterator[str]:
        parent, _, _ = prefix.rpartition("/")
        try:
            yield from (n for n in self._walk(parent) if n.startswith(prefix))
        except OSError as error:
            self._fault(error, prefix, "listed")

    def folders(self, prefix: str = "", *, empty: bool = False) -> Iterator[str]:
        parent = prefix.rstrip("/")
        try:
            for entry in self._entries(parent):
                # An object store has no empty folders, so neither has this one.
                if entry.is_dir(follow_symlinks=False) and (empty or _holds_a_file(entry.path)):
                    yield entry.name
        except OSError as error:
            self._fault(error, prefix, "listed")

    def delete(self, name: str) -> None:
        path = self._root / check_name(name)
        try:
            path.unlink()
            _sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._fault(error, name, "deleted")

    def remove_empty(self, folder: str) -> None:
        """Remove ``folder`` and the folders in it as far as they are empty."""
        for path, _, _ in os.walk(self._root / check_name(folder), topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()

    def sweep(self, prefix: str = "") -> int:
        """Remove what killed writers left under the folder ``prefix``; give how many files.

        A writer holds a lock on its temporary file, so one that is locked, or too young to be
        sure that its writer had the time to lock it, is left alone.
        """
        removed = 0
        for folder, _, files in os.walk(self._root / prefix):
            for file in files:
                if file.startswith(TEMPORARY):
                    removed += _remove_leftover(Path(folder) / file)
        return removed

    def _sweep_once(self, name: str) -> None:
        top, _, _ = name.rpartition("/")
        top = top.partition("/")[0]
        if top not in self._swept:
            self._swept.add(top)
            if top:
                self.sweep(top)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """List a folder in the order of full names, as object stores do; [] if there is none."""
        path = self._root / check_name(folder) if folder else self._root
        try:
            with os.scandir(path) as found:
                entries = [e for e in found if _is_name(e.name)]
        except FileNotFoundError:
            return []
        return sorted(entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False))

    def _walk(self, folder: str) -> Iterator[str]:
        for entry in self._entries(folder):
            name = _joined(folder, entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(name)
            elif entry.is_file():
                yield name

    def _fault(self, error: OSError, name: str, deed: str, consequence: str = "") -> NoReturn:
        reason = _REASONS.get(error.errno or 0) or str(error.strerror or error)
        what = f"'{name}'" if name else "it"
        raise StoreFault(
            f"the store {self.url}: {what} could not be {deed}: {reason}"
            + (f" ({consequence})" if consequence else "")
        ) from error


def _holds_a_file(folder: str) -> bool:
    """Tell whether there is a file below a folder; the first that is found is enough."""
    inner = []
    with os.scandir(folder) as found:
        for entry in found:
            if not _is_name(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif entry.is_file():
                return True
    return any(_holds_a_file(each) for each in inner)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_name(part: str) -> bool:
    with contextlib.suppress(UserError):
        return bool(check_name(part))
    return False


def _write(path: Path, content: bytes | Path) -> None:
    with path.open("xb") as file:
        with contextlib.suppress(OSError):  # a file system without locks: age alone decides
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file, 1024 * 1024)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(path: Path) -> None:
    """Make ``path`` and what is missing above it, each entry durable in its own parent."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:  # another writer was quicker, or it is a file
            if not folder.is_dir():
                raise
        _sync_folder(folder.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftover(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < LEFTOVER_S:
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # locked by its writer, or already gone
        return False
    return True
