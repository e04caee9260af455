"""Connections kept alive, reused, and opened ahead of need."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from llmatrix.harness.native.alarm import Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.bodies import Address
from llmatrix.harness.native.connection import Connection, Sender
from llmatrix.harness.native.reads import Reads

CONNECT_S: Final = 10.0
_RAMP: Final = 64
_DROPS: Final = 3
_MOST_SPARE: Final = 32


class Pool:
    """Connections to one address.

    An exchange that finds none idle waits for whichever comes first: the one opened for it, or one
    that another exchange gives back. ``keep_spare`` keeps a few idle ones open beyond those in use
    (an eighth, at least 1, at most 32), so that a growing load meets an open connection; more would
    occupy servers that give every connection a thread of its own.

    Attributes:
        ended, again: the sender's, for connections to call.
        opened: connections opened so far.
        reuse: false once the server has shown that it closes connections after each answer: from
            then on each request has a connection of its own, and a quarter as many as are in
            use are kept spare, at least 2.
    """

    def __init__(
        self,
        where: Address,
        sender: Sender,
        *,
        keep_spare: bool,
        connect_s: float,
        serve: Callable[[Connection, Exchange], None],
        tls: ssl.SSLContext | None,
        alarm: Alarm | None,
        stream: bool = True,
    ) -> None:
        self.opened = 0
        self.reuse = True
        self._loop = asyncio.get_running_loop()
        self._where = where
        self.ended = sender.ended
        self.again = sender.again
        self._keep_spare = keep_spare
        self._connect_s = min(CONNECT_S, connect_s)
        self._serve = serve
        self._tls = tls
        self._connection = partial(
            Connection, self, self._loop, alarm, reads=Reads(), stream=stream
        )
        self._spare: list[Connection] = []
        self._all: set[Connection] = set()
        self._waiting: deque[Exchange] = deque()
        self._opening: set[asyncio.Task[str | None]] = set()
        self._returned = 0
        self._dropped = 0

    async def open_ahead(self, connections: int) -> str | None:
        """Open connections before the load starts, 64 at a time; give the last failure, in words.

        Raises:
            ssl.SSLCertVerificationError: the server's certificate does not verify.
        """
        failure = None
        while connections > 0:
            batch = [self._open() for _ in range(min(connections, _RAMP))]
            results = await asyncio.gather(*batch, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                failure = result or failure
            if failure:
                return failure
            connections -= _RAMP
        return failure

    def lend(self, exchange: Exchange) -> None:
        """Serve the exchange on an idle connection now, or on the next that there is."""
        connection = None if exchange.resent else self._take()
        if connection is not None:
            self._serve(connection, exchange)
        else:
            self._waiting.append(exchange)
            self._start_opening()
        if self._keep_spare:
            in_use = len(self._all) - len(self._spare)
            wanted = max(1, in_use // 8) if self.reuse else max(2, in_use // 4)
            wanted = min(_MOST_SPARE, wanted)
            for _ in range(wanted - len(self._spare) - len(self._opening)):
                self._start_opening()

    def idle(self, connection: Connection) -> None:
        """Take a connection whose answer left it fit for another request."""
        self._returned += 1
        if not self.reuse:
            connection.close()
        elif self._waiting and not self._waiting[0].resent:
            self._serve(connection, self._waiting.popleft())
        else:
            self._spare.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection; learn from one that was dropped after its answer."""
        self._all.discard(connection)
        if connection in self._spare:
            self._spare.remove(connection)
        self._dropped += connection.dropped
        if self._dropped >= _DROPS and 2 * self._dropped > self._returned:
            self.reuse = False
            self._keep_spare = True

    def close(self) -> None:
        """Close everything."""
        for task in self._opening:
            task.cancel()
        for connection in list(self._all):
            connection.close()

    def _take(self) -> Connection | None:
        while self._spare:
            connection = self._spare.pop()
            if not connection.closed:
                return connection
        return None

    def _start_opening(self) -> None:
        task = self._loop.create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening_ended)

    def _opening_ended(self, task: asyncio.Task[str | None]) -> None:
        self._opening.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        failure = str(error) if error is not None else task.result()
        if failure is None or len(self._opening) >= len(self._waiting):
            return
        exchange = self._waiting.popleft()
        exchange.fail("connect", failure)
        self.ended(exchange)

    async def _open(self) -> str | None:
        """Open one connection; give why it failed, in words, or None."""
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await self._loop.create_connection(
                    self._connection,
                    self._where.host,
                    self._where.port,
                    ssl=self._tls,
                    server_hostname=self._where.host if self._tls else None,
                )
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError:
            return f"no connection to {self._where.authority} within {self._connect_s:g} s"
        except (OSError, UnicodeError) as error:
            return f"cannot connect to {self._where.authority}: {error}"
        self.opened += 1
        self._all.add(connection)
        if self._waiting:
            self._serve(connection, self._waiting.popleft())
        else:
            self._spare.append(connection)
        return None
