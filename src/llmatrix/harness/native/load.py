"""Sends one workload: every request at its time, through warm-up, window and drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from llmatrix.harness.native.alarm import Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.bodies import Bodies
from llmatrix.harness.native.connection import Connection
from llmatrix.harness.native.orders import Orders
from llmatrix.harness.native.pool import Pool
from llmatrix.harness.native.schedule import arrivals, phase_at, ramp

OUTAGE_S: Final = 5.0
_OUTAGE_REQUESTS: Final = 3
_RETRY_NS: Final = 100_000_000
_BEAT_S: Final = 0.05


@dataclass(slots=True)
class Counts:
    """Requests so far."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    resent: int = 0


class Load:
    """One run of a workload over a pool of connections; owner of both ends of every exchange.

    Open loop: requests are sent at their scheduled times. Closed loop: a slot's next request is
    scheduled for the moment at which its answer before ended; after one that failed, 0.1 s after
    its own schedule at the soonest, so that a dead server is not hammered.

    The load goes on during the drain until every request of the window has ended, so that the
    window's last answers come from a server as busy as before.
    """

    def __init__(self, orders: Orders, bodies: Bodies) -> None:
        self.exchanges: list[Exchange] = []
        self.counts = Counts()
        self.outage: str | None = None
        self._orders = orders
        self._bodies = bodies
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop)
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._zero = 0
        self._open_window = 0
        self._outage_since: int | None = None
        self._outage_count = 0
        self._active: dict[Exchange, Connection | None] = {}
        self._due: Iterator[float] = iter(())
        self._parts: dict[Exchange, Sequence[bytes]] = {}

    def offset(self) -> float:
        """Give the seconds since the first request's schedule."""
        return (time.monotonic_ns() - self._zero) / 1e9

    async def run(self, pool: Pool, zero: int, tick: Callable[[], None]) -> None:
        """Send the workload, whose zero is ``zero`` (monotonic ns), to its end.

        Afterwards ``exchanges`` holds every request, each ended, and ``outage`` says why the run
        ended early, if it did. ``tick`` is called about 20 times a second.
        """
        self._pool = pool
        self._zero = zero
        orders = self._orders
        if orders.concurrency is None:
            self._due = arrivals(orders.pace, orders.gap_cv, orders.seed)
            self._arrive(zero + round(next(self._due) * 1e9))
        else:
            for slot, due in enumerate(ramp(orders.concurrency, orders.warmup)):
                self._at(zero + round(due * 1e9), slot)
        while not self._over.done():
            await asyncio.wait([self._over], timeout=_BEAT_S)
            self._judge_end()
            tick()
        self._alarm.close()
        for exchange in list(self._active):
            self._give_up(exchange)

    def _judge_end(self) -> None:
        now, (_, end) = self.offset(), self._orders.window
        over = now >= end and (not self._open_window or now >= end + self._orders.drain)
        if over and not self._over.done():
            self._over.set_result(None)

    def _arrive(self, due: int) -> None:
        """Send every request of the open loop that is due; wait for the next one."""
        while not self._over.done():
            if due > time.monotonic_ns():
                self._alarm.at(due, partial(self._arrive, due))
                return
            self._dispatch(due, None)
            due = self._zero + round(next(self._due) * 1e9)

    def _at(self, due: int, slot: int) -> None:
        """Send the next request of a closed loop's slot when it is due."""
        if due > time.monotonic_ns():
            self._alarm.at(due, partial(self._at, due, slot))
        elif not self._over.done():
            self._dispatch(due, slot)

    def _dispatch(self, due: int, slot: int | None) -> None:
        number = len(self.exchanges)
        phase = phase_at((due - self._zero) / 1e9, self._orders.window)
        group, parts = self._bodies.parts(number)
        exchange = Exchange(number, phase, group, due, slot)
        self.exchanges.append(exchange)
        self._active[exchange] = None
        self._parts[exchange] = parts
        self._open_window += phase == "window"
        self._pool.lend(exchange)

    def serve(self, connection: Connection, exchange: Exchange) -> None:
        """Send a request on the connection that the pool found for it."""
        waited = (time.monotonic_ns() - exchange.scheduled) / 1e9
        self._active[exchange] = connection
        self.counts.sent += not exchange.resent
        left = max(0.001, self._orders.timeout - waited)
        connection.send(exchange, self._parts[exchange], left)

    def again(self, exchange: Exchange) -> None:
        """Send a request anew on another connection."""
        self._active[exchange] = None
        self.counts.resent += 1
        self._pool.lend(exchange)

    def idle(self, connection: Connection) -> None:
        """Take a connection back."""
        self._pool.give_back(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._pool.lost(connection)

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange that ended; a closed loop goes on with the next."""
        if exchange.end is None:
            exchange.end = time.monotonic_ns()
        self._active.pop(exchange, None)
        self._parts.pop(exchange, None)
        self._open_window -= exchange.phase == "window"
        self.counts.done += exchange.error is None
        self.counts.failed += exchange.error is not None
        self._watch_outage(exchange)
        if exchange.slot is not None and not self._over.done():
            earliest = exchange.scheduled + (_RETRY_NS if exchange.error else 0)
            self._at(max(exchange.end, earliest), exchange.slot)

    def _watch_outage(self, exchange: Exchange) -> None:
        """End the run when for 5 s requests met nothing but failing connections."""
        if exchange.error != "connect":
            self._outage_since, self._outage_count = None, 0
            return
        now = time.monotonic_ns()
        self._outage_since = self._outage_since or now
        self._outage_count += 1
        long = now - self._outage_since >= OUTAGE_S * 1e9
        if long and self._outage_count >= _OUTAGE_REQUESTS and not self._over.done():
            self.outage = exchange.detail or "every connection failed"
            self._over.set_result(None)

    def _give_up(self, exchange: Exchange) -> None:
        """End a request that is still open when the run is over."""
        window = exchange.phase == "window" and self.outage is None
        error = "timeout" if window else "aborted"
        detail = "still open at the end of the drain" if window else "the run was over"
        connection = self._active.get(exchange)
        if connection is not None:
            connection.abort(error, detail)
        else:
            exchange.fail(error, detail)
            self.ended(exchange)
