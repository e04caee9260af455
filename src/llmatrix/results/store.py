"""Where records are kept: one small protocol, implemented over a folder (object stores later).

Names are relative, with ``/`` between parts: ``<experiment>/<trial id>/record.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A place that keeps named bytes. ``put`` is atomic and durable: whole or not at all."""

    @property
    def url(self) -> str:
        """How a user names it."""

    def put(self, name: str, content: bytes | Path) -> None:
        """Write ``name``, replacing what is there; durable when this returns.

        Raises:
            StoreFault: it could not be written; what was there before is still there.
        """

    def get(self, name: str) -> bytes:
        """Read ``name``.

        Raises:
            KeyError: there is no such name.
            StoreFault: it could not be read.
        """

    def local(self, name: str) -> Path:
        """Give a readable path of ``name`` on this machine, fetched if need be.

        Raises:
            KeyError: there is no such name.
        """

    def exists(self, name: str) -> bool:
        """Tell whether ``name`` is there, whole."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Give every name that begins with ``prefix``, in order."""

    def folders(self, prefix: str = "") -> Iterator[str]:
        """Give the names of the folders right under ``prefix``, in order."""

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""
