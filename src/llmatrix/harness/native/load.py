"""Sends one workload: every request at its time, through warm-up, window and drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from llmatrix.harness.native.alarm import Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.bodies import Bodies
from llmatrix.harness.native.connection import Connection
from llmatrix.harness.native.conversations import Conversations
from llmatrix.harness.native.orders import Orders
from llmatrix.harness.native.pool import Pool
from llmatrix.harness.native.schedule import phase_at, ramp, share, think
from llmatrix.harness.native.spool import Spool

OUTAGE_S: Final = 5.0
_OUTAGE_REQUESTS: Final = 3
_RETRY_NS: Final = 100_000_000
_BEAT_S: Final = 0.05
_TICK_S: Final = 0.25


@dataclass(slots=True)
class Counts:
    """Requests so far."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    resent: int = 0


class Load:
    """One run of a workload over a pool of connections; each exchange begins and ends with it.

    What arrives in an open loop, and takes up a slot of a closed one, is a session; it has one
    request, or one after another as turns. Open loop: sessions begin at their scheduled times.
    Closed loop: a slot's next session is scheduled for the moment at which its session before
    ended; after one that failed, 0.1 s after that request's own schedule at the soonest, so that a
    dead server is not hammered. A turn is scheduled for the end of the one before and the time to
    think; a turn that fails is its session's last.

    The load goes on during the drain until every request of the window has ended, so that the
    window's last answers come from a server as busy as before.

    Attributes:
        alarm: calls back when something is due.
        answered: set once every request of the window has ended.
        due: offsets, in seconds, and numbers of the sessions that an open loop is to send; a
            closed one has none.
    """

    def __init__(
        self, orders: Orders, bodies: Bodies, due: Iterator[tuple[int, float]], spool: Spool
    ) -> None:
        self.counts = Counts()
        self.outage: str | None = None
        self.in_window = 0
        self.answered = asyncio.Event()
        self._orders = orders
        self._bodies = bodies
        self._due = due
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self.alarm = Alarm(self._loop)
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._zero = 0
        self._places = 0
        self._sessions = 0
        self._open_window = 0
        self._outage_since: int | None = None
        self._outage_count = 0
        self._active: dict[Exchange, Connection | None] = {}
        self._window = orders.window
        self._timeout_ns = round(orders.timeout * 1e9)
        source = bodies.source
        self._talk = source if isinstance(source, Conversations) else None

    def offset(self) -> float:
        """Give the seconds since the first request's schedule."""
        return (time.monotonic_ns() - self._zero) / 1e9

    async def run(self, pool: Pool, zero: int, tick: Callable[[], None]) -> None:
        """Send the workload until ``end`` or the end of the drain.

        ``zero`` (monotonic ns) is the moment of the first request. Afterwards every request has
        ended and is in the spool, and ``outage`` says why the run ended early, if it did. ``tick``
        is called a few times a second.
        """
        self._pool = pool
        self._zero = zero
        orders = self._orders
        if orders.concurrency is None:
            self._arrive_next()
        else:
            slots = iter(ramp(orders.concurrency, orders.warmup))
            for slot, due in share(slots, orders.shard, orders.shards):
                self._at(zero + round(due * 1e9), partial(self._begin, slot))
        self._beat(tick)
        await self._over
        self.alarm.close()
        for exchange in list(self._active):
            self._give_up(exchange)

    def _beat(self, tick: Callable[[], None]) -> None:
        """Look whether the run is over, 20 times a second; less often while it cannot be."""
        if not self._over.done():
            left = self._window[1] - self.offset()
            self._loop.call_later(max(_BEAT_S, min(_TICK_S, left)), self._beat, tick)
            self._judge_end()
            tick()

    def end(self) -> None:
        """End the run: what is still open is given up."""
        if not self._over.done():
            self._over.set_result(None)

    def _judge_end(self) -> None:
        now, (_, end) = self.offset(), self._orders.window
        if now >= end and not self._open_window:
            self.answered.set()
        if now >= end + self._orders.drain:
            self.end()

    def _arrive_next(self) -> None:
        session, due = next(self._due, (-1, 0.0))
        if session >= 0:
            self._arrive(session, self._zero + round(due * 1e9))

    def _arrive(self, session: int, due: int) -> None:
        """Begin every session of the open loop that is due; wait for the next one."""
        while not self._over.done():
            if due > time.monotonic_ns():
                self.alarm.at(due, partial(self._arrive, session, due))
                return
            self._dispatch(due, session * self._orders.turns, None)
            session, offset = next(self._due, (-1, 0.0))
            if session < 0:
                return
            due = self._zero + round(offset * 1e9)

    def _at(self, due: int, send: Callable[[int], None]) -> None:
        """Send something when it is due: now, if it is."""
        if due > time.monotonic_ns():
            self.alarm.at(due, partial(self._at, due, send))
        elif not self._over.done():
            send(due)

    def _begin(self, slot: int, due: int) -> None:
        """Begin the next session of a closed loop's slot."""
        session = self._sessions * self._orders.shards + self._orders.shard
        self._sessions += 1
        self._dispatch(due, session * self._orders.turns, slot)

    def _dispatch(self, due: int, number: int, slot: int | None) -> None:
        phase = phase_at((due - self._zero) / 1e9, self._window)
        parts, prompt = self._bodies.body(number)
        exchange = Exchange(number, phase, due, place=self._places, slot=slot, asks=prompt)
        exchange.parts = parts
        if self._orders.history == "received":
            exchange.words = []
        self._places += 1
        self._active[exchange] = None
        if phase == "window":
            self._open_window += 1
            self.in_window += 1
        self._pool.lend(exchange)

    def serve(self, connection: Connection, exchange: Exchange) -> None:
        """Send a request on the connection that the pool found for it."""
        self._active[exchange] = connection
        self.counts.sent += not exchange.resent
        connection.send(exchange, exchange.scheduled + self._timeout_ns)

    def again(self, exchange: Exchange) -> None:
        """Send a request anew on another connection."""
        self._active[exchange] = None
        self.counts.resent += 1
        self._pool.lend(exchange)

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange that ended; its session goes on, or its slot with the next."""
        if exchange.end is None:
            exchange.end = time.monotonic_ns()
        self._active.pop(exchange, None)
        exchange.parts = ()
        self._open_window -= exchange.phase == "window"
        self._spool.add(exchange)
        if exchange.error is None:
            self.counts.done += 1
            self._outage_since, self._outage_count = None, 0
        else:
            self.counts.failed += 1
            self._watch_outage(exchange)
        if self._over.done() or (self._talk is not None and self._goes_on(exchange, exchange.end)):
            return
        if exchange.slot is None:
            return
        if exchange.error is None:
            self._begin(exchange.slot, exchange.end)
        else:
            earliest = max(exchange.end, exchange.scheduled + _RETRY_NS)
            self._at(earliest, partial(self._begin, exchange.slot))

    def _goes_on(self, exchange: Exchange, end: int) -> bool:
        """Schedule the next turn of a session, if there is one."""
        session, orders = exchange.group, self._orders
        if self._talk is None or session is None or exchange.turn is None:
            return False
        if exchange.error is not None or exchange.turn + 1 == orders.turns:
            self._talk.forget(session)
            return False
        if exchange.words is not None:
            self._talk.received(session, "".join(exchange.words))
        seconds = think(orders.seed, session, exchange.turn, orders.think_time, orders.think_cv)
        number, slot = exchange.number + 1, exchange.slot
        self._at(end + round(seconds * 1e9), lambda due: self._dispatch(due, number, slot))
        return True

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
