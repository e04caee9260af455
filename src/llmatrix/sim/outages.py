"""Crashes on purpose: when a replica goes, and when it comes back at the same address."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

from llmatrix.sim.faults import Fault
from llmatrix.sim.listening import Listener

_LOG: Final = logging.getLogger(__name__)


class Outages:
    """The crashes of one replica.

    Attributes:
        crashes: how many there were since ``begin``.

    Args:
        faults: those of kind ``crash`` of this replica.
        listener: its own; it closes connections and listens again.
        down: called when the replica goes, to lose what it holds.
        up: called when it listens again.
    """

    def __init__(
        self,
        faults: Iterable[Fault],
        listener: Listener,
        down: Callable[[], None],
        up: Callable[[], None],
    ) -> None:
        self.crashes = 0
        self._faults = tuple(faults)
        self._listener = listener
        self._down = down
        self._up = up
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Count the faults' seconds from now on."""
        self.close()
        self.crashes = 0
        self._tasks = [asyncio.create_task(self._crash(fault)) for fault in self._faults]

    def close(self) -> None:
        """Let no more of them happen."""
        for task in self._tasks:
            task.cancel()

    async def _crash(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        self.crashes += 1
        self._down()
        self._listener.close()
        _LOG.warning("replica %d has crashed, as it was told to", fault.replica)
        if fault.lasts == math.inf:
            return
        await asyncio.sleep(fault.lasts)
        try:
            await self._listener.reopen()
        except OSError as error:
            _LOG.error("replica %d cannot come back: %s", fault.replica, error)
            return
        self._up()
        _LOG.info("replica %d is back", fault.replica)
