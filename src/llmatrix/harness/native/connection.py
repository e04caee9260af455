"""One connection to the server: bytes out, an answer in, timed at the arrival of each read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, Protocol

from llmatrix.harness.native.alarm import Alarm
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.chunks import CHUNK_END, LAST_CHUNK, first_chunk
from llmatrix.harness.native.likeness import PLAIN, Found, plain_up_to
from llmatrix.harness.native.parser import OK, AnswerParser
from llmatrix.harness.native.reads import Reads
from llmatrix.harness.native.shortcut import Like, like, taken

_BLANK: Final = b"\r\n\r\n"
_LEAST_NS: Final = 1_000_000
_RETRY_IDLE_NS: Final = 1_000_000_000
_DROP_NS: Final = 100_000_000
_TRIES: Final = 3
_EVENTS_PER_TRY: Final = 8


class Sender(Protocol):
    """Whoever sends requests."""

    @property
    def ended(self) -> Callable[[Exchange], None]:
        """Takes an exchange that ended, well or not."""

    @property
    def again(self) -> Callable[[Exchange], None]:
        """Sends a request anew that met a connection which the server had let go."""


class Owner(Sender, Protocol):
    """Whoever lends connections out to it."""

    def idle(self, connection: Connection) -> None:
        """Take a connection back that is fit for another request."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that carries one request at a time.

    A failure of any kind ends the exchange with an error class and closes the connection; nothing
    is raised. A request that meets a connection which had carried an answer, or been idle for a
    second, and that is closed before any byte of an answer, was never read: the server had let the
    connection go while the request was on its way. It is sent again, once, on a new connection.

    Within a stream, a read that is like one before it (one chunk with one event, in which only the
    text differs) is stamped and not parsed, neither as HTTP nor as JSON; of one that is not, chunks
    of whole events are not parsed as HTTP, nor is a head or an end like one before it. An answer
    means the same, whichever way its reads take.

    Args:
        owner: who lends it out.
        loop: where it runs.
        alarm: rung between two reads if it is due; None where nothing falls due by the clock.
        reads: how reads look that need not be parsed, as all connections to a server know it.
        stream: whether answers are asked for as streams of events; else each is one document.

    Attributes:
        dropped: whether the server closed this connection right after an answer, although that
            answer's head did not say so (llama.cpp's server does, after each stream).
    """

    __slots__ = (
        "_alarm",
        "_alike",
        "_answered",
        "_answers",
        "_deadline",
        "_exchange",
        "_head",
        "_idle_since",
        "_loop",
        "_owner",
        "_parser",
        "_reads",
        "_rings",
        "_stream",
        "_timer",
        "_transport",
        "_tries",
        "_unheard",
        "dropped",
    )

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        alarm: Alarm | None,
        *,
        reads: Reads | None = None,
        stream: bool = True,
    ) -> None:
        self._owner = owner
        self._alarm = alarm
        self._reads = reads or Reads()
        self._stream = stream
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = AnswerParser(self._reads, stream=stream)
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0
        self._rings = 0
        self.dropped = False
        self._idle_since = 0
        self._answers = 0
        self._answered = False
        self._alike: Like | None = None
        self._head = b""
        self._unheard = b""
        self._tries = 0

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by contract
        self._idle_since = monotonic_ns()

    def send(self, exchange: Exchange, deadline: int) -> None:
        """Send a request; its end, at ``deadline`` (monotonic ns) if not before, is told."""
        assert self._transport is not None  # noqa: S101 - the pool gives out open connections
        self._exchange = exchange
        self._answered = False
        # Before the write: the server may have the bytes before the call is back.
        exchange.sent = sent = monotonic_ns()
        self._transport.writelines(exchange.parts)
        deadline = max(deadline, sent + _LEAST_NS)
        self._deadline = deadline
        if self._timer is None or deadline < self._rings:
            self._set_timer((deadline - sent) / 1e9)

    def _set_timer(self, seconds: float) -> None:
        """Look at the deadline later; a request that ends in time leaves the timer to the next."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._deadline
        self._timer = self._loop.call_later(seconds, self._expire)

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        alike = self._alike
        if alike is None:
            self._receive(data, now, data)
        else:
            begins, end, stamps, words, _ = alike
            text = data.removeprefix(begins[len(data)])
            rest = text.lstrip(PLAIN)
            # Where nothing is removed, these are the very same bytes; ``end`` begins with a quote.
            if text is not data and (rest is not text if rest == end else plain_up_to(text, end)):
                stamps.append(now)
                if words is not None:
                    words.append(text.removesuffix(end).decode())
            elif (exchange := self._exchange) is not None:
                left = taken(data, now, alike, self._reads, exchange)
                if left is not None:
                    self._receive(data, now, left)
        alarm = self._alarm
        if alarm is not None and now >= alarm.due:
            alarm.ring()

    def _receive(self, read: bytes, now: int, left: bytes | None) -> None:
        """Take what is ``left`` of a read that came at ``now``; None where nothing is."""
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        if not self._answered:
            self._answered = True
            left = self._begin(read, exchange)
        if self._unheard:
            if self._alike is None and not exchange.done:
                left = self._start(left or b"", now, exchange)
            if exchange.error is not None:
                self._end(now, keep=False)
            elif left == LAST_CHUNK and exchange.finished:
                self._end(now, keep=True)
            elif left:
                self._catch_up(exchange)
                self._parse(read, now, left, exchange)
            elif left is not None:
                self._expect(read, exchange, None)
        else:
            self._parse(read, now, left or b"", exchange)

    def _begin(self, read: bytes, exchange: Exchange) -> bytes:
        """Take the head of an answer if it is known; give what is left of its first read."""
        head, blank, left = read.partition(_BLANK)
        reads = self._reads
        self._tries = 0
        self._head = head if blank else b""
        if blank and head in reads.heads:
            self._unheard = head + blank
            exchange.status, exchange.server = OK, reads.heads[head]
            return left
        self._parser.begin(exchange)
        return read

    def _start(self, data: bytes, now: int, exchange: Exchange) -> bytes | None:
        """Take an answer's first event, if it is known but for id and text; give what is left."""
        reads = self._reads
        cut = first_chunk(data)
        found = None if cut is None else reads.found(cut[0].removesuffix(CHUNK_END))
        if cut is None or found is None:
            return data
        self._alike = alike = like(exchange, reads, found.before, found.name)
        if cut[1]:
            return taken(data, now, alike, reads, exchange)
        exchange.stamps.append(now)
        if exchange.words is not None:
            exchange.words.append(found.text.decode())
        return None

    def _catch_up(self, exchange: Exchange) -> None:
        """Let the parser hear the head of an answer that it has to hear of after all."""
        self._parser.begin(exchange, self._unheard)
        self._unheard = b""

    def _parse(self, read: bytes, now: int, left: bytes, exchange: Exchange) -> None:
        """Let the parser hear what is left of a read; learn what the next one may be like."""
        parser = self._parser
        found = None
        if left:
            parser.hear(left, now)
            found = parser.found
        if parser.complete:
            if parser.keep:
                self._reads.learn_head(self._head, exchange.server)
            self._end(now, keep=parser.keep)
        elif exchange.error is not None:
            self._end(now, keep=False)
        # The line that begins a chunk is told once it has ended; so nothing of one is here.
        elif parser.between and (not left or left.endswith(CHUNK_END)):
            self._expect(read, exchange, found)
        else:
            self._alike = None

    def _expect(self, read: bytes, exchange: Exchange, found: Found | None) -> None:
        """Learn from a read that ended between two chunks what the next one may be like.

        ``found`` is what is known of its last event already.
        """
        if exchange.done:
            self._alike = None
            return
        known = None if found is None else (found.before, found.name)
        if known is None and self._tries < _TRIES + len(exchange.stamps) // _EVENTS_PER_TRY:
            self._tries += 1
            known = self._reads.like(read)
        if known is not None:
            self._alike = like(exchange, self._reads, *known)

    def eof_received(self) -> None:
        """Take the end of the stream, which for an unframed answer is its proper end."""
        now = monotonic_ns()
        self._note_drop(now)
        self._ended_early("the server closed the connection", now)

    def connection_lost(self, exc: Exception | None) -> None:
        now = monotonic_ns()
        self._note_drop(now)
        why = f"the connection broke: {exc}" if exc else "the connection was closed"
        self._ended_early(why, now)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._owner.lost(self)

    def _ended_early(self, why: str, now: int) -> None:
        """End the exchange, if there is one, because no more bytes will come."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.status is not None:
            if self._unheard:
                self._catch_up(exchange)
            unfinished = f"{why} before the answer was complete"
            self._parser.judge(unfinished, cut=self._parser.framed, now=now)
        elif self._answered:
            exchange.fail("protocol", f"{why} within the headers of the answer")
        elif self._stale(exchange):
            exchange.resent = True
            self._exchange = None
            self.close()
            self._owner.again(exchange)
            return
        else:
            exchange.fail("connect", f"{why} before any answer")
        self._end(now, keep=False)

    def _note_drop(self, now: int) -> None:
        """Tell a server that closes after each answer from one whose patience ended."""
        if self._answers and not (self._exchange is not None and self._answered):
            self.dropped |= now - self._idle_since < _DROP_NS

    def _stale(self, exchange: Exchange) -> bool:
        idle = (exchange.sent or 0) - self._idle_since
        return not exchange.resent and (self._answers > 0 or idle >= _RETRY_IDLE_NS)

    def _expire(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        left = self._deadline - monotonic_ns()
        if left > 0:
            self._set_timer(left / 1e9)
        else:
            state = "the stream stalled" if exchange.stamps else "no token came"
            state = state if self._stream else "no whole answer came"
            self.abort("timeout", f"{state} within the time allowed")

    def abort(self, error: str, detail: str) -> None:
        """Give up on the exchange under way."""
        if self._exchange is not None:
            self._exchange.fail(error, detail)
            self._end(monotonic_ns(), keep=False)

    def _end(self, now: int, *, keep: bool) -> None:
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - every caller has just looked
        self._exchange = None
        self._alike = None
        self._unheard = b""
        exchange.end = now
        if keep and not self.closed:
            self._idle_since = now
            self._answers += 1
            self._owner.idle(self)
        else:
            self.close()
        self._owner.ended(exchange)

    def close(self) -> None:
        """Close at once; what is unsent is dropped."""
        if self._transport is not None:
            self._transport.abort()
