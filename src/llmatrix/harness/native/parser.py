"""An answer heard as HTTP, and then as events or as a document; and what it was in the end."""

from __future__ import annotations

from typing import Final

import httptools

from llmatrix.harness.native.answer import Exchange, one_line, text
from llmatrix.harness.native.likeness import Found
from llmatrix.harness.native.reads import Reads
from llmatrix.harness.native.sse import MAX_EVENT_BYTES, EventParser, EventTooLargeError

OK: Final = 200
SERVER_HEADERS: Final = frozenset(
    {
        b"x-gateway-destination-endpoint-served",  # Gateway API Inference Extension
        b"x-inference-pod",  # llm-d inference simulator
        b"x-llmatrix-replica",  # our simulator
    }
)
MAX_ERROR_BODY: Final = 64 * 1024
_FINAL_STATUS: Final = 200


class AnswerParser:
    """Hears the answers of one connection, one after another, as far as somebody lets it hear.

    It may miss whole answers, and in a stream whole chunks of whole events. What it hears is noted
    with the exchange: a failure of any kind as its error; nothing is raised.

    Args:
        reads: how events look that need not be parsed as JSON.
        stream: whether answers are asked for as streams of events; else each is one document.

    Attributes:
        complete: whether the answer ended as its framing says.
        keep: whether the connection is fit for another request then.
        framed: whether the answer's head told how it would end.
        found: the event heard last, where it differs from those of other answers in what such
            events may; None where it was parsed as JSON.
    """

    __slots__ = (
        "_between_chunks",
        "_body",
        "_encoding",
        "_events",
        "_exchange",
        "_http",
        "_location",
        "_now",
        "_reads",
        "_retry_after",
        "_stream",
        "_type",
        "complete",
        "found",
        "framed",
        "keep",
    )

    def __init__(self, reads: Reads, *, stream: bool) -> None:
        self._reads = reads
        self._stream = stream
        self._http = httptools.HttpResponseParser(self)
        self._exchange: Exchange
        self._now = 0
        self.keep = False

    def begin(self, exchange: Exchange, head: bytes = b"") -> None:
        """Hear another answer, of which nobody heard so far.

        Args:
            exchange: whose it is.
            head: its head, if nobody heard it when it came; what came after it was taken otherwise.
        """
        self._exchange = exchange
        self.complete = False
        self._forget()
        if head:
            self.hear(head, self._now)
        if self._events is not None:
            self._events.first = not exchange.stamps

    def _forget(self) -> None:
        self._events: EventParser | None = None
        self._body = bytearray()
        self._type = b""
        self._encoding = b""
        self._location = b""
        self._retry_after = b""
        self._between_chunks = False
        self.framed = False
        self.found: Found | None = None

    @property
    def between(self) -> bool:
        """Whether a stream is between two chunks as far as heard, and between two events."""
        return self._between_chunks and self._events is not None and self._events.between

    def hear(self, data: bytes, now: int) -> None:
        """Take bytes that came at ``now``."""
        self._now = now
        self.found = None
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._malformed("the server switched to another protocol")
        except httptools.HttpParserError as error:
            self._malformed(f"malformed HTTP: {error}")

    def _malformed(self, why: str) -> None:
        """Note bytes that are no HTTP; after a whole answer they only cost the connection."""
        self.keep = False
        if not self.complete:
            self._exchange.fail("protocol", why)

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        key = name.lower()
        if key == b"content-type":
            self._type = value.lower()
        elif key == b"content-encoding":
            self._encoding = value.lower()
        elif key in {b"content-length", b"transfer-encoding"}:
            self.framed = True
        elif key == b"location":
            self._location = value
        elif key == b"retry-after":
            self._retry_after = value
        elif key in SERVER_HEADERS:
            self._exchange.server = one_line(text(value))

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        status = self._http.get_status_code()
        if self.complete or status < _FINAL_STATUS:
            return
        exchange.status = status
        if status != OK:
            return
        if self._encoding not in {b"", b"identity"}:
            exchange.fail("protocol", f"the answer is encoded ({text(self._encoding)}), unasked")
        elif self._stream and b"json" not in self._type and b"html" not in self._type:
            self._events = EventParser()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if self.complete or exchange.error is not None:
            return
        events = self._events
        if events is None:
            whole = not self._stream and exchange.status == OK
            self._body += body[: (MAX_EVENT_BYTES if whole else MAX_ERROR_BODY) - len(self._body)]
            return
        if events.between and not exchange.done and (found := self._reads.found(body)) is not None:
            self.found = found
            events.first = False
            exchange.stamps.append(self._now)
            if exchange.words is not None:
                exchange.words.append(found.text.decode())
            return
        try:
            for event in events.feed(body):
                if exchange.error is None:
                    exchange.take(event, self._now)
        except EventTooLargeError as error:
            exchange.fail("stream", str(error))

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self._http.get_status_code() < _FINAL_STATUS:
            self._forget()
            return
        events, exchange = self._events, self._exchange
        if events is None or not (events.between and exchange.finished and exchange.status == OK):
            unfinished = "the stream ended before the answer was complete"
            self.judge(unfinished, cut=False, now=self._now)
        self.complete = True
        self.keep = exchange.error is None and self._http.should_keep_alive()

    def judge(self, unfinished: str, *, cut: bool, now: int) -> None:
        """Decide, at the end of an answer, whether it was one.

        Args:
            unfinished: what to say of one that is not complete.
            cut: whether it ended otherwise than its head told.
            now: when it ended.
        """
        exchange = self._exchange
        if exchange.error is not None:
            return
        if exchange.status != OK:
            exchange.fail("http", self._http_detail(exchange.status))
        elif not self._stream:
            if cut:
                exchange.fail("stream", unfinished)
            else:
                exchange.take_whole(bytes(self._body), now)
        elif self._events is None:
            first = text(bytes(self._body)).partition("\n")[0]
            exchange.fail("protocol", f"the answer is no stream of events: {first}")
        else:
            for event in () if cut or self._events.between else self._events.finish():
                exchange.take(event, now)
            if not exchange.finished:
                exchange.fail("stream", unfinished)

    def _http_detail(self, status: int | None) -> str:
        first = text(bytes(self._body)).strip().partition("\n")[0]
        extra = f" to {text(self._location)}" if self._location else ""
        if self._retry_after:
            extra += f" (retry after {text(self._retry_after)})"
        return f"HTTP {status}{extra}: {first}" if first else f"HTTP {status}{extra}"
