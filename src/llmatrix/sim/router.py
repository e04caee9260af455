"""The simulated router: chooses a replica as the endpoint picker does, passes the bytes through."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from array import array
from typing import Any, Final

import orjson

from llmatrix.sim import http, membership
from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.http import Connection, Request
from llmatrix.sim.incoming import Incoming
from llmatrix.sim.membership import Membership
from llmatrix.sim.passage import Passage, onward
from llmatrix.sim.profiles import PickerConfig
from llmatrix.sim.router_metrics import RouterMetrics
from llmatrix.sim.scheduling import Choice, Scheduler
from llmatrix.sim.scoring import PrefixCache
from llmatrix.sim.scraping import scrape_for_ever
from llmatrix.sim.upstream import Pool

_LOG: Final = logging.getLogger(__name__)
_GENERATE: Final = frozenset({"/v1/completions", "/v1/chat/completions"})
_PASSED: Final = frozenset({"/v1/models", "/version"})
_UNKNOWN: Final = "unknown"


class Router:
    """Replicas, a scheduling profile, and what it learnt.

    Attributes:
        endpoints: the replicas that requests may go to.
        follows: what says which these are, in words; empty when ``POST /servers`` does.
    """

    def __init__(self, config: PickerConfig, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - load balancing is no secret
        self.scheduler = Scheduler(config, self._rng)
        self.metrics = RouterMetrics()
        self.endpoints: list[Endpoint] = []
        self._pools: dict[Endpoint, Pool] = {}
        self._scrapes: dict[Endpoint, asyncio.Task[None]] = {}
        self._generation: object = None
        self.follows = ""
        for scorer in self.scheduler.scorers:
            if isinstance(scorer, PrefixCache):
                scorer.observe = self.metrics.observe_prefix

    # replicas

    def follow(self, members: Membership, generation: object = None) -> None:
        """Route to these replicas from now on; those not among them are forgotten.

        Args:
            members: the replicas.
            generation: whose replicas they are: under another one, a replica at the same address
                is a new one, of which nothing is known.
        """
        wanted = {endpoint.address: endpoint for endpoint in members.endpoints()}
        for endpoint in tuple(self.endpoints):
            if endpoint.address in wanted and generation == self._generation:
                endpoint.labels = wanted.pop(endpoint.address).labels
            else:
                self._drop(endpoint)
        self._generation = generation
        loop = asyncio.get_running_loop()
        for endpoint in wanted.values():
            self.endpoints.append(endpoint)
            self._pools[endpoint] = Pool(endpoint)
            self._scrapes[endpoint] = loop.create_task(scrape_for_ever(endpoint))

    def _drop(self, endpoint: Endpoint) -> None:
        self.endpoints.remove(endpoint)
        self._pools.pop(endpoint).close()
        self._scrapes.pop(endpoint).cancel()
        self.scheduler.drop(endpoint)

    def close(self) -> None:
        """Stop scraping, close what is idle."""
        for endpoint in tuple(self.endpoints):
            self._drop(endpoint)

    # HTTP

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, or pass it on."""
        path = request.path.partition("?")[0]
        if path == "/health":
            addresses = [endpoint.address for endpoint in self.endpoints]
            connection.reply(200, orjson.dumps({"endpoints": addresses}))
        elif path == "/metrics":
            text = self.metrics.render(self.endpoints, self._prefix_entries())
            connection.reply(200, text.encode(), http.METRICS_TEXT)
        elif path == "/reset":
            if request.method != "POST":
                connection.fail(405, "/reset takes POST")
                return
            self.scheduler.reset()
            connection.reply(200, orjson.dumps({"success": True}))
        elif path == "/servers":
            self._servers(request, connection)
        elif path in _GENERATE:
            self._generate(request, connection)
        elif path in _PASSED and request.method == "GET":
            # Like the picker, which sends a request without a body to any replica.
            if self._has_replicas(connection, _UNKNOWN):
                choice = Choice(self._rng.choice(self.endpoints))
                self._pass(request, connection, choice, _UNKNOWN)
        else:
            connection.fail(404, f"the router has nothing at {path}; replicas are asked directly")

    def _servers(self, request: Request, connection: Connection) -> None:
        if request.method == "POST":
            if self.follows:
                connection.fail(409, f"this router follows {self.follows}, not POST /servers")
                return
            try:
                self.follow(membership.read(request.body))
            except membership.NotAList as error:
                connection.fail(400, str(error))
                return
            _LOG.info("%d replicas by POST /servers", len(self.endpoints))
        elif request.method != "GET":
            connection.fail(405, "/servers takes GET and POST")
            return
        labels = {endpoint.url: endpoint.labels for endpoint in self.endpoints}
        members = Membership(tuple(labels), labels)
        connection.reply(200, orjson.dumps(members.document()))

    def _generate(self, request: Request, connection: Connection) -> None:
        if request.method != "POST":
            connection.fail(405, f"{request.path} takes POST")
            return
        began = time.perf_counter()
        incoming = _incoming(request)
        if isinstance(incoming, str):
            self.metrics.errors[_UNKNOWN, 400] += 1
            connection.fail(400, incoming)
            return
        self.metrics.requests[incoming.model] += 1
        if not self._has_replicas(connection, incoming.model):
            return
        choice = self.scheduler.choose(incoming, self.endpoints)
        self.metrics.scheduling.observe(time.perf_counter() - began)
        if choice is None:
            # The picker's answer, as if the pool were full.
            self.metrics.errors[incoming.model, 429] += 1
            connection.fail(429, "failed to find target pod: the filters leave no replica")
            return
        if self.scheduler.splits:
            self.metrics.decided(incoming.model, split=choice.prefill is not None)
        self._pass(request, connection, choice, incoming.model)

    def _has_replicas(self, connection: Connection, model: str) -> bool:
        if self.endpoints:
            return True
        self.metrics.errors[model, 503] += 1
        connection.fail(503, "no replica is ready")
        return False

    def _pass(self, request: Request, connection: Connection, choice: Choice, model: str) -> None:
        def failed() -> None:
            self.metrics.errors[model, 502] += 1

        headers = self.scheduler.answer_headers(choice.endpoint)
        passage = Passage(connection, choice, headers, failed)
        self._pools[choice.endpoint].send(onward(request, choice), passage)

    def _prefix_entries(self) -> int:
        return sum(
            len(scorer.index)
            for scorer in self.scheduler.scorers
            if isinstance(scorer, PrefixCache)
        )


def _incoming(request: Request) -> Incoming | str:
    """Read what a choice depends on; or say what is wrong with the request."""
    try:
        document = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        return f"the body is not JSON: {error}"
    if not isinstance(document, dict):
        return "the body must be a JSON object"
    model, salt = document.get("model"), document.get("cache_salt")
    if not isinstance(model, str):
        return "`model` must name the model"
    prompt = _prompt_bytes(document)
    if prompt is None:
        return "neither `prompt` nor `messages` can be read"
    return Incoming(model, prompt, salt if isinstance(salt, str) else "", request.headers)


def _prompt_bytes(document: dict[str, Any]) -> bytes | None:
    if "messages" in document:
        return orjson.dumps(document["messages"])
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt.encode("utf-8", "replace")
    if isinstance(prompt, list):
        try:
            # Four bytes a token, as many as the picker assumes characters in one.
            return array("I", prompt).tobytes()
        except (TypeError, OverflowError):
            return None
    return None
