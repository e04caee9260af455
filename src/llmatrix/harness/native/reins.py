"""What the parent holds of a child: it is told when to start and to end, and tells how it goes."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from llmatrix.harness.native.orders import ANSWERED, END, READY, START


class Reins(Protocol):
    """Both ways of the talk between a child and whoever started it."""

    async def start(self) -> tuple[int, float]:
        """Say that all is ready; give the zero of all shards (monotonic ns; POSIX seconds)."""

    async def ended(self) -> None:
        """Return once the run is to end."""

    def answered(self) -> None:
        """Say that every request of the window has ended."""

    def tell(self, kind: str, **fields: Any) -> None:
        """Say anything."""


class Pipes:
    """The reins of a child whose parent holds its standard input and output.

    When the input ends, so does this process, at once: its parent is dead.
    """

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._awaited: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = {}
        self._lines = self._read()

    def orders(self) -> bytes:
        """Give the first line; from then on a thread reads what follows."""
        line = next(self._lines, b"")
        threading.Thread(target=self._listen, daemon=True).start()
        return line

    def _read(self) -> Iterator[bytes]:
        rest = b""
        while read := os.read(0, 65536):
            *lines, rest = (rest + read).split(b"\n")
            yield from lines

    def _listen(self) -> None:
        for line in self._lines:
            message = json.loads(line)
            with self._changed:
                self._told[message["kind"]] = message
                self._changed.notify_all()
                loop, future = self._awaited.pop(message["kind"], (None, None))
            if loop is not None and future is not None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_resolve, future)
        os._exit(3)

    def wait(self, kind: str) -> dict[str, Any]:
        """Wait until the parent has told something, and give it."""
        with self._changed:
            self._changed.wait_for(lambda: kind in self._told)
            return self._told[kind]

    async def _heard(self, kind: str) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if kind in self._told:
                return self._told[kind]
            self._awaited[kind] = (loop, future)
        await future
        return self._told[kind]

    async def start(self) -> tuple[int, float]:
        self.tell(READY)
        message = await self._heard(START)
        return message["zero"], message["started_at"]

    async def ended(self) -> None:
        await self._heard(END)

    def answered(self) -> None:
        self.tell(ANSWERED)

    def tell(self, kind: str, **fields: Any) -> None:
        with suppress(BrokenPipeError):
            os.write(1, json.dumps({"kind": kind, **fields}).encode() + b"\n")


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
