"""An object as a file that is read and sought in; each read fetches just its range of bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Ranges(io.RawIOBase):
    """The raw bytes of an object, to be wrapped in ``io.BufferedReader``."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """``fetch(start, end)`` gives the bytes from ``start`` up to before ``end``."""
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        content = self._fetch(self._at, end)
        view[: len(content)] = content
        self._at += len(content)
        return len(content)
