"""One simulated model server: an engine, run in real time, behind OpenAI's API."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Final

import orjson

from llmatrix import __version__
from llmatrix.sim import http, openai
from llmatrix.sim.alarm import Alarms
from llmatrix.sim.disaggregation import Prefills
from llmatrix.sim.faults import Disturbance
from llmatrix.sim.http import Connection, Request
from llmatrix.sim.outages import Outages
from llmatrix.sim.passage import PREFILLER
from llmatrix.sim.scheduler import Engine, Sequence, State, Step
from llmatrix.sim.server_metrics import ServerMetrics
from llmatrix.sim.tokens import WORDS, word_at

_LOG: Final = logging.getLogger(__name__)
_WORDS: Final = tuple(word.encode() for word in WORDS)
_GET: Final = frozenset({"/health", "/ping", "/version", "/v1/models", "/metrics"})
_POST: Final = {"/v1/completions": False, "/v1/chat/completions": True}
_RESET: Final = "/reset_prefix_cache"
_FAULTS: Final = "/faults"


@dataclass(slots=True, eq=False)
class _Exchange:
    """A request that is being answered."""

    ask: openai.Ask
    answer: openai.Answer
    connection: Connection
    since: float
    """When this replica had the request, on the engine's clock."""


class Replica:
    """One model server on one port.

    Attributes:
        ready: whether it has started; before that it answers 503.
        outages: its crashes, where it has any.

    Args:
        prefills: how it has prompts prefilled elsewhere; None: it computes them all itself,
            whatever a request's header says.
    """

    def __init__(
        self,
        model: str,
        engine: Engine,
        alarms: Alarms,
        max_model_len: int,
        disturbance: Disturbance | None = None,
        prefills: Prefills | None = None,
    ) -> None:
        self.model = model
        self.engine = engine
        self.ready = False
        self.outages: Outages | None = None
        self.max_model_len = min(max_model_len, engine.capacity)
        self.metrics = ServerMetrics(model, engine)
        self._alarms = alarms
        self._disturbance = disturbance or Disturbance()
        self._prefills = prefills
        self._exchanges: dict[Sequence, _Exchange] = {}
        self._step: Step | None = None
        self._step_ends = 0.0
        self._left_waiting = 0
        self._created = int(time.time())

    # HTTP

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        path = request.path.partition("?")[0]
        if path in _POST:
            if request.method != "POST":
                connection.fail(405, f"{path} takes POST")
            elif not self.ready:
                connection.fail(503, "the server is starting")
            else:
                self._generate(request, connection, chat=_POST[path])
        elif path == _RESET:
            self._reset(request, connection)
        elif path == _FAULTS:
            self._faults(request, connection)
        elif path not in _GET:
            connection.fail(404, f"there is nothing at {path}")
        elif request.method != "GET":
            connection.fail(405, f"{path} takes GET")
        else:
            self._inform(path, connection)

    def _inform(self, path: str, connection: Connection) -> None:
        if path == "/metrics":
            connection.reply(200, self.metrics.render().encode(), http.METRICS_TEXT)
        elif path == "/version":
            version = {"version": __version__, "owned_by": "llmatrix-sim", "simulated": True}
            connection.reply(200, orjson.dumps(version))
        elif not self.ready:
            connection.fail(503, "the server is starting")
        elif path == "/v1/models":
            card = {
                "id": self.model,
                "object": "model",
                "created": self._created,
                "owned_by": "llmatrix-sim",
                "root": self.model,
                "parent": None,
                "max_model_len": self.max_model_len,
            }
            connection.reply(200, orjson.dumps({"object": "list", "data": [card]}))
        else:
            connection.reply(200, b"")

    def _reset(self, request: Request, connection: Connection) -> None:
        if request.method != "POST":
            connection.fail(405, f"{_RESET} takes POST")
            return
        success = self.engine.forget_prefixes()
        connection.reply(200, orjson.dumps({"success": success}))

    def _faults(self, request: Request, connection: Connection) -> None:
        """Begin the clock of faults anew (POST), and tell how often it has crashed since."""
        if request.method == "POST":
            self.begin_faults(time.monotonic())
        elif request.method != "GET":
            connection.fail(405, f"{_FAULTS} takes GET and POST")
            return
        crashes = 0 if self.outages is None else self.outages.crashes
        connection.reply(200, orjson.dumps({"crashes": crashes}))

    def _generate(self, request: Request, connection: Connection, *, chat: bool) -> None:
        try:
            ask = openai.parse(
                request.body,
                chat=chat,
                model=self.model,
                longest=self.max_model_len,
                framed=request.chunked,
            )
        except openai.BadRequest as error:
            connection.fail(error.status, str(error))
            return
        now = time.monotonic()
        sequence = Sequence(ask.prompt, ask.max_tokens, ask.first_word, now, salt=ask.salt)
        exchange = _Exchange(ask, openai.Answer(ask), connection, now)
        prefiller = request.headers.get(PREFILLER) if self._prefills is not None else None
        if prefiller is None:
            self._accept(sequence, exchange)
        else:
            self._prefill_elsewhere(prefiller.decode("latin-1"), request, sequence, exchange)

    def _accept(self, sequence: Sequence, exchange: _Exchange) -> None:
        self._exchanges[sequence] = exchange
        exchange.connection.on_lost = lambda: self._abandon(sequence)
        self.engine.add(sequence)
        if self._step is None:
            self._begin(sequence.arrival)

    def _prefill_elsewhere(
        self, address: str, request: Request, sequence: Sequence, exchange: _Exchange
    ) -> None:
        """Accept a sequence when its KV entries are made elsewhere, and fetched."""
        prefills, connection = self._prefills, exchange.connection
        assert prefills is not None  # noqa: S101 - the caller has looked

        def fetch() -> None:
            # From here on the request counts as this replica's own, as with the real one.
            exchange.since = time.monotonic()
            missing = len(sequence.prompt) - self.engine.cached(sequence)
            sequence.arrival = exchange.since + prefills.transfer_s(missing)
            self._alarms.at(sequence.arrival, accept)

        def accept() -> None:
            if prefill.wanted:
                sequence.transferred = len(sequence.prompt)
                self._accept(sequence, exchange)

        def refused(status: int, body: bytes) -> None:
            connection.on_lost = None
            connection.reply(status, body)

        try:
            prefill = prefills.begin(address, request, fetch, refused)
        except ValueError:
            connection.fail(400, f"{PREFILLER.decode()} must be host and port, not '{address}'")
            return
        connection.on_lost = prefill.abandon

    def _abandon(self, sequence: Sequence) -> None:
        """Stop computing for a client that left."""
        if self._exchanges.pop(sequence, None) is not None:
            self.engine.abort(sequence)
            if self._step is None or not self.engine.running:
                self.metrics.snapshot(len(self.engine.waiting))

    def start(self) -> None:
        """Be ready from now on."""
        self.ready = True

    def begin_faults(self, now: float) -> None:
        """Count the time of faults from now on; a step that one of them held goes on.

        Infinity: until it is called again, nothing goes wrong.
        """
        self._disturbance.epoch = now
        if now == math.inf:
            return
        if self.outages is not None:
            self.outages.begin()
        if self._step is not None:
            ends = self._disturbance.end(now, self._step.seconds)
            if ends < self._step_ends:
                self._step_ends = ends
                self._alarms.at(ends, self._end)

    def crash(self) -> None:
        """Lose every sequence and the KV cache; whoever listens closes the connections."""
        self.ready = False
        for sequence in (*self.engine.running, *self.engine.waiting):
            self.engine.abort(sequence)
        self._exchanges.clear()
        self._step = None
        self.engine.forget_prefixes()
        self.metrics.snapshot(0)

    # the engine's time

    def _begin(self, now: float) -> None:
        """Begin a step at ``now``: the end of the one before, so that lateness never adds up."""
        step = self.engine.schedule(now)
        if step is None and self.engine.waiting:
            # What waits arrived after the end of a step that was rung late.
            now = self.engine.waiting[0].arrival
            step = self.engine.schedule(now)
        self._step = step
        self._left_waiting = len(self.engine.waiting)
        if step is not None:
            self._step_ends = self._disturbance.end(now, step.seconds)
            if self._step_ends < math.inf:
                self._alarms.at(self._step_ends, self._end)

    def _end(self) -> None:
        step, ends = self._step, self._step_ends
        if step is None or ends > time.monotonic():  # of a replica that crashed meanwhile
            return
        told = self.engine.finish(step, ends)
        self.metrics.snapshot(self._left_waiting)
        for sequence in told:
            try:
                self._tell(sequence, ends)
            except Exception:  # noqa: BLE001 - logged; the others get theirs
                _LOG.exception("an answer could not be written")
                self._abandon(sequence)
        # The loop writes to the sockets when this call is over: late is what the last one is.
        self._alarms.soon(lambda: self.metrics.sent(time.monotonic() - ends))
        self._begin(ends)

    def _tell(self, sequence: Sequence, at: float) -> None:
        """Send one token, and what belongs before and after it, in one write."""
        metrics = self.metrics
        first = sequence.generated == 1
        exchange = self._exchanges[sequence]
        if first:
            metrics.first_token.observe(at - exchange.since)
        else:
            metrics.inter_token.observe(at - sequence.last_token_at)
        sequence.last_token_at = at
        finished = sequence.state is State.FINISHED
        if exchange.ask.stream:
            answer = exchange.answer
            word = word_at(sequence.first_word, sequence.generated - 1)
            if finished:
                data = answer.closing(word, sequence.cached or 0)
            else:
                data = b"%b%b%b" % (answer.head, _WORDS[word], answer.tail)
            if first:
                request = exchange.connection.current
                if request is not None:
                    data = http.stream_head(request) + answer.opening() + data
            exchange.connection.transport.write(data)
        if finished:
            metrics.finished(exchange.ask.finish, at - exchange.since)
            self._close(sequence, exchange)

    def _close(self, sequence: Sequence, exchange: _Exchange) -> None:
        del self._exchanges[sequence]
        connection, ask = exchange.connection, exchange.ask
        if ask.stream:
            request = connection.current
            connection.done(keep_alive=ask.framed and request is not None and request.keep_alive)
            return
        words = [word_at(sequence.first_word, position) for position in range(ask.max_tokens)]
        connection.reply(200, exchange.answer.whole(words, sequence.cached or 0))
