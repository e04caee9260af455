"""Where records are kept: one small protocol, over a folder or an object store.

Names are relative, with ``/`` between parts: ``<experiment>/<trial id>/record.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Store(Protocol):
    """A place that keeps named bytes. ``put`` is atomic and durable: whole or not at all."""

    @property
    def url(self) -> str:
        """How a user names it; holds no credentials."""

    @property
    def parallel(self) -> int:
        """How many reads at once make it quicker: 1 for a disk, more over a network."""

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

    def open(self, name: str, *, buffer_bytes: int = 1024 * 1024) -> BinaryIO:
        """Open ``name`` for reading and seeking; only the parts that are read are fetched.

        Args:
            name: what to open.
            buffer_bytes: how much is fetched at once.

        Raises:
            KeyError: there is no such name.
            StoreFault: it could not be read.
        """

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Give every name that begins with ``prefix``, in order, and its size in bytes."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """Give every name that begins with ``prefix``, in order."""

    def folders(self, prefix: str = "", *, empty: bool = False) -> Iterator[str]:
        """Give the names of the folders right under ``prefix``, in order.

        Args:
            prefix: a folder's name and a slash.
            empty: whether folders without a file may be among them, where a disk has such:
                to leave them out costs it a look into every one.
        """

    def delete(self, name: str) -> None:
        """Remove ``name`` if it is there."""


def side_by_side(store: Store, items: Iterable[A], read: Callable[[A], B]) -> Iterator[B]:
    """Give ``read(item)`` of every item, in order, as many at once as the store gains from."""
    if store.parallel == 1:
        yield from map(read, items)
        return
    with ThreadPoolExecutor(store.parallel) as threads:
        yield from threads.map(read, items)
