"""The router as a program.

It follows the file in which the model servers announce themselves; without one it has the replicas
that ``POST /servers`` gave it last, and none before.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

import orjson

from llmatrix.sim import membership
from llmatrix.sim.listening import Listener, announce
from llmatrix.sim.membership import Membership
from llmatrix.sim.profiles import PickerConfig
from llmatrix.sim.router import Router

_LOG: Final = logging.getLogger(__name__)
POLL_S: Final = 0.05


async def route(
    config: PickerConfig,
    *,
    servers_file: Path | None,
    host: str,
    port: int,
    announce_file: Path | None,
    stop: asyncio.Event,
) -> None:
    """Route until ``stop``, following ``servers_file`` where there is one.

    Raises:
        OSError: the address cannot be listened at.
    """
    router = Router(config)
    listener = Listener(router)
    seen: tuple[int, ...] | None = ()
    try:
        if servers_file is not None:
            router.follows = str(servers_file)
            seen = follow_file(router, servers_file, seen)
        url = await listener.open(host, port)
        if announce_file is not None:
            announce(announce_file, {"pid": os.getpid(), "router": url})
        _LOG.info("routing at %s", url)
        if servers_file is None:
            await stop.wait()
            return
        while not stop.is_set():
            seen = follow_file(router, servers_file, seen)
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue
    finally:
        router.close()
        listener.close()


def follow_file(router: Router, file: Path, seen: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Let the router follow an announcement when it has changed since ``seen``.

    Returns:
        What to give as ``seen`` the next time: the file's identity, None while there is none.
    """
    try:
        state = file.stat()
        now: tuple[int, ...] | None = (state.st_mtime_ns, state.st_ino, state.st_size)
    except OSError:
        now = None
    if now == seen:
        return seen
    members = Membership()
    generation = None
    if now is not None:
        try:
            document = orjson.loads(file.read_bytes())
            generation = document.get("pid")
            members = membership.of_document(document)
        except (OSError, ValueError, AttributeError) as error:
            _LOG.warning("%s is no announcement of servers: %s", file, error)
    router.follow(members, generation)
    _LOG.info("%d replicas: %s", len(router.endpoints), " ".join(members.urls) or "none")
    return now
