"""Copies of objects on this machine, each kept under the version that it is a copy of.

The folder may be removed at any time; nothing but time is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

KEPT_S: Final = 30 * 86400.0
"""A copy that was not used for so long is removed."""


def cache_folder() -> Path:
    """Where copies live: $LLMATRIX_CACHE, else llmatrix in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("LLMATRIX_CACHE", ""):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if shared else Path.home() / ".cache") / "llmatrix"


class Copies:
    """The copies of one store's objects."""

    def __init__(self, url: str) -> None:
        self._folder = cache_folder() / "objects" / _digest(url)
        self._pruned = False

    def find(self, name: str) -> tuple[Path, str] | None:
        """Give the copy of ``name`` and its version (an ETag), if there is one."""
        for path in self._folder.glob(f"{_digest(name)}.*"):
            with contextlib.suppress(OSError):
                os.utime(path)
                return path, unquote(path.name.partition(".")[2])
        return None

    def keep(self, name: str, version: str, chunks: Iterable[bytes]) -> Path:
        """Write a copy, whole or not at all, and drop those of other versions.

        Raises:
            OSError: this machine has no room for it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._prune_once()
        path = self._folder / f"{_digest(name)}.{quote(version, safe='')[:150]}"
        part = self._folder / f"part-{secrets.token_hex(8)}"
        try:
            with part.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        for other in self._folder.glob(f"{_digest(name)}.*"):
            if other != path:
                other.unlink(missing_ok=True)
        return path

    def _prune_once(self) -> None:
        if self._pruned:
            return
        self._pruned = True
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - KEPT_S:
                    path.unlink()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
