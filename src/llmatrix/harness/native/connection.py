"""One connection to the server: bytes out, an answer in, timed at the arrival of each read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, Protocol

import httptools

from llmatrix.harness.native import chunks
from llmatrix.harness.native.alarm import Alarm
from llmatrix.harness.native.answer import Exchange, one_line, text
from llmatrix.harness.native.chunks import CHUNK_END, Like
from llmatrix.harness.native.likeness import PLAIN, plain_up_to
from llmatrix.harness.native.reads import Beginnings, Reads
from llmatrix.harness.native.sse import MAX_EVENT_BYTES, EventParser, EventTooLargeError

SERVER_HEADERS: Final = frozenset(
    {
        b"x-gateway-destination-endpoint-served",  # Gateway API Inference Extension
        b"x-inference-pod",  # llm-d inference simulator
        b"x-llmatrix-replica",  # our simulator
    }
)
MAX_ERROR_BODY: Final = 64 * 1024
_BLANK: Final = b"\r\n\r\n"
_LAST: Final = b"0\r\n\r\n"
_OK: Final = 200
_FINAL_STATUS: Final = 200
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
    of whole events are not parsed as HTTP, nor is a head like one before it. An answer means the
    same, whichever way its reads take.

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
        "_between_chunks",
        "_body",
        "_complete",
        "_deadline",
        "_encoding",
        "_events",
        "_exchange",
        "_found",
        "_framed",
        "_head",
        "_idle_since",
        "_keep",
        "_location",
        "_loop",
        "_now",
        "_owner",
        "_parser",
        "_reads",
        "_retry_after",
        "_rings",
        "_stream",
        "_timer",
        "_transport",
        "_tries",
        "_type",
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
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0
        self._rings = 0
        self.dropped = False
        self._now = 0
        self._idle_since = 0
        self._answers = 0
        self._answered = False
        self._complete = False
        self._keep = False
        self._head = b""
        self._reset()

    def _reset(self) -> None:
        """Forget the answer before."""
        self._events: EventParser | None = None
        self._body = bytearray()
        self._type = b""
        self._encoding = b""
        self._location = b""
        self._retry_after = b""
        self._framed = False
        self._between_chunks = False
        self._alike: Like | None = None
        self._found: bytes | None = None
        self._tries = 0
        self._unheard = b""

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
        self._answered = self._complete = False
        self._reset()
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
        like = self._alike
        if like is None:
            self._receive(data, now, data)
        else:
            begins, _, end, stamps, words = like
            text = data.removeprefix(begins[len(data)])
            rest = text.lstrip(PLAIN)
            # Where nothing is removed, these are the very same bytes; ``end`` begins with a quote.
            if text is not data and (rest is not text if rest == end else plain_up_to(text, end)):
                stamps.append(now)
                if words is not None:
                    words.append(text.removesuffix(end).decode())
            elif (left := chunks.taken(data, now, like, self._exchange)) is not None:
                self._receive(data, now, left)
        alarm = self._alarm
        if alarm is not None and now >= alarm.due:
            alarm.ring()

    def _receive(self, read: bytes, now: int, data: bytes) -> None:
        """Parse ``data``, what is left of a read that came at ``now``."""
        self._now = now
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        if not self._answered:
            self._answered = True
            left = self._begin(data, now, exchange)
            if left is None:
                return
            data = left
        self._found = None
        try:
            if data:
                self._feed(data, exchange)
        except httptools.HttpParserUpgrade:
            self._malformed("the server switched to another protocol")
        except httptools.HttpParserError as error:
            self._malformed(f"malformed HTTP: {error}")
        if self._complete:
            self._end(keep=self._keep)
        elif exchange.error is not None:
            self._end(keep=False)
        elif self._events is not None:
            self._compare(read, data, self._events, exchange)

    def _begin(self, read: bytes, now: int, exchange: Exchange) -> bytes | None:
        """Take a known head and the event after it; give what is left of the read to be parsed.

        None where nothing is. The parser hears of the head if it has to hear of anything.
        """
        head, blank, first = read.partition(_BLANK)
        self._head = head if blank else b""
        reads = self._reads
        before = reads.first(first) if head in reads.heads else None
        if before is None:
            return read
        self._unheard = head + blank
        exchange.status, exchange.server = _OK, reads.heads[head]
        self._events = events = EventParser()
        events.first = False
        begins = Beginnings(reads.lines, before)
        self._alike = like = begins, before, reads.end, exchange.stamps, exchange.words
        return chunks.taken(first, now, like, exchange)

    def _feed(self, data: bytes, exchange: Exchange) -> None:
        """Let the parser hear more, unless that ends a whole answer of which it never heard."""
        unheard, self._unheard = self._unheard, b""
        if unheard and data == _LAST and exchange.finished and exchange.error is None:
            self._complete = self._keep = True
        else:
            self._parser.feed_data(unheard + data)

    def _compare(self, read: bytes, data: bytes, events: EventParser, exchange: Exchange) -> None:
        """Learn from a read how reads look that need not be parsed; ``data`` of it was parsed."""
        # The line that begins a chunk is told once it has ended; so nothing of one is here.
        between_chunks = self._between_chunks and (not data or data.endswith(CHUNK_END))
        if exchange.done or not (between_chunks and events.between):
            self._alike = None
            return
        before = self._found
        if before is None and self._tries < _TRIES + len(exchange.stamps) // _EVENTS_PER_TRY:
            self._tries += 1
            before = self._reads.like(read)
        if before is not None:
            begins, end = Beginnings(self._reads.lines, before), self._reads.end
            self._alike = begins, before, end, exchange.stamps, exchange.words

    def _malformed(self, why: str) -> None:
        """Note bytes that are no HTTP; after a whole answer they only cost the connection."""
        self._keep = False
        if not self._complete and self._exchange is not None:
            self._exchange.fail("protocol", why)

    def eof_received(self) -> None:
        """Take the end of the stream, which for an unframed answer is its proper end."""
        self._now = monotonic_ns()
        self._note_drop()
        self._ended_early("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._now = monotonic_ns()
        self._note_drop()
        self._ended_early(f"the connection broke: {exc}" if exc else "the connection was closed")
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._owner.lost(self)

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return
        key = name.lower()
        if key == b"content-type":
            self._type = value.lower()
        elif key == b"content-encoding":
            self._encoding = value.lower()
        elif key in {b"content-length", b"transfer-encoding"}:
            self._framed = True
        elif key == b"location":
            self._location = value
        elif key == b"retry-after":
            self._retry_after = value
        elif key in SERVER_HEADERS and self._exchange is not None:
            self._exchange.server = one_line(text(value))

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        status = self._parser.get_status_code()
        if exchange is None or self._complete or status < _FINAL_STATUS:
            return
        exchange.status = status
        if status != _OK:
            return
        if self._encoding not in {b"", b"identity"}:
            exchange.fail("protocol", f"the answer is encoded ({text(self._encoding)}), unasked")
        elif self._stream and b"json" not in self._type and b"html" not in self._type:
            self._events = self._events or EventParser()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._complete or exchange.error is not None:
            return
        if self._events is None:
            whole = not self._stream and exchange.status == _OK
            self._body += body[: (MAX_EVENT_BYTES if whole else MAX_ERROR_BODY) - len(self._body)]
            return
        events, template = self._events, self._reads.event
        if template is not None and events.between and not exchange.done:
            found = template.text(body)
            if found is not None:
                self._found, said = found
                events.first = False
                exchange.stamps.append(self._now)
                if exchange.words is not None:
                    exchange.words.append(said.decode())
                return
        try:
            for event in events.feed(body):
                if exchange.error is None:
                    exchange.take(event, self._now)
        except EventTooLargeError as error:
            exchange.fail("stream", str(error))

    def on_message_complete(self) -> None:
        if self._exchange is None or self._complete:
            return
        if self._parser.get_status_code() < _FINAL_STATUS:
            self._reset()
            return
        events, exchange = self._events, self._exchange
        if events is None or not (events.between and exchange.finished and exchange.status == _OK):
            self._judge("the stream ended before the answer was complete", cut=False)
        self._complete = True
        self._keep = exchange.error is None and self._parser.should_keep_alive()
        if self._keep:
            self._reads.learn_head(self._head, exchange.server)

    def _judge(self, unfinished: str, *, cut: bool) -> None:
        """Decide, at the end of an answer, whether it was one."""
        exchange = self._exchange
        if exchange is None or exchange.error is not None:
            return
        if exchange.status != _OK:
            exchange.fail("http", self._http_detail(exchange.status))
        elif not self._stream:
            if cut:
                exchange.fail("stream", unfinished)
            else:
                exchange.take_whole(bytes(self._body), self._now)
        elif self._events is None:
            first = text(bytes(self._body)).partition("\n")[0]
            exchange.fail("protocol", f"the answer is no stream of events: {first}")
        else:
            for event in () if cut or self._events.between else self._events.finish():
                exchange.take(event, self._now)
            if not exchange.finished:
                exchange.fail("stream", unfinished)

    def _http_detail(self, status: int | None) -> str:
        first = text(bytes(self._body)).strip().partition("\n")[0]
        extra = f" to {text(self._location)}" if self._location else ""
        if self._retry_after:
            extra += f" (retry after {text(self._retry_after)})"
        return f"HTTP {status}{extra}: {first}" if first else f"HTTP {status}{extra}"

    def _ended_early(self, why: str) -> None:
        """End the exchange, if there is one, because no more bytes will come."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.status is not None:
            self._judge(f"{why} before the answer was complete", cut=self._framed)
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
        self._end(keep=False)

    def _note_drop(self) -> None:
        """Tell a server that closes after each answer from one whose patience ended."""
        if self._answers and not (self._exchange is not None and self._answered):
            self.dropped |= self._now - self._idle_since < _DROP_NS

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
            self._now = monotonic_ns()
            self._fail("timeout", f"{state} within the time allowed")

    def abort(self, error: str, detail: str) -> None:
        """Give up on the exchange under way."""
        self._now = monotonic_ns()
        self._fail(error, detail)

    def _fail(self, error: str, detail: str) -> None:
        if self._exchange is not None:
            self._exchange.fail(error, detail)
            self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - every caller has just looked
        self._exchange = None
        self._alike = None
        exchange.end = self._now
        if keep and not self.closed:
            self._idle_since = self._now
            self._answers += 1
            self._owner.idle(self)
        else:
            self.close()
        self._owner.ended(exchange)

    def close(self) -> None:
        """Close at once; what is unsent is dropped."""
        if self._transport is not None:
            self._transport.abort()
