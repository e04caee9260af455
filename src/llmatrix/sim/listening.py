"""Event loop, sockets and announcements that both programs share."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

import orjson
import uvloop

from llmatrix.sim.http import Application, Connection

_LOG: Final = logging.getLogger(__name__)
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised, not bound
_YOUNG_OBJECTS: Final = 50_000
_BACKLOG: Final = 2048


class Listener:
    """One listening socket and the connections that came through it."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._connections: set[Connection] = set()
        self._server: asyncio.AbstractServer | None = None
        self._address = ("", 0)

    async def open(self, host: str, port: int) -> str:
        """Listen; give the URL under which this machine reaches it.

        Raises:
            OSError: the address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        bound = sock.getsockname()[1]
        self._address = (host, bound)
        self._server = await loop.create_server(
            lambda: Connection(self._application, self._connections), sock=sock, backlog=_BACKLOG
        )
        reachable = "127.0.0.1" if host in _WILDCARDS else host
        return (
            f"http://[{reachable}]:{bound}" if ":" in reachable else f"http://{reachable}:{bound}"
        )

    async def reopen(self) -> str:
        """Listen again where it did before ``close``.

        Raises:
            OSError: somebody else took the address meanwhile.
        """
        return await self.open(*self._address)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.transport.abort()


def announce(file: Path, document: Mapping[str, object]) -> None:
    """Write a JSON file so that readers see all of it or the one before."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    Path(name).chmod(0o644)
    Path(name).replace(file)


def log_to_stdout() -> None:
    """Log plain lines to standard output, where a container's log is read."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(message)s",
    )


def end_as_first_process() -> None:
    """Let SIGTERM end a program that is a container's first process, from now on.

    The kernel gives process 1 no default actions: until the event loop takes the signal, it would
    be lost, and the container would be killed only when its grace period is over.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)


def run(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a program on uvloop until SIGTERM or SIGINT sets the event that it is given."""
    # Each stream through the router takes two descriptors; the usual 1,024 are soon gone.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Requests make few cycles; a full collection in the middle of a step is a late token.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 100)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
