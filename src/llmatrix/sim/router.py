"""The simulated router: chooses a replica as the endpoint picker does, passes the bytes through."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orjson

from llmatrix.sim import http
from llmatrix.sim.endpoint import Endpoint
from llmatrix.sim.http import Connection, Request
from llmatrix.sim.listening import Listener, announce
from llmatrix.sim.picker_config import PickerConfig
from llmatrix.sim.router_metrics import RouterMetrics
from llmatrix.sim.scoring import Incoming, PrefixCache, Profile
from llmatrix.sim.scraping import scrape_for_ever
from llmatrix.sim.upstream import Pool, Upstream

_LOG: Final = logging.getLogger(__name__)
SERVED_BY: Final = b"x-gateway-destination-endpoint-served"
POLL_S: Final = 0.05
_GENERATE: Final = frozenset({"/v1/completions", "/v1/chat/completions"})
_PASSED: Final = frozenset({"/v1/models", "/version"})
_OURS: Final = frozenset(
    {
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"keep-alive",
        b"upgrade",
    }
)
_UNKNOWN: Final = "unknown"


class _Passage:
    """One request on its way to a replica, and the answer's on its way back."""

    def __init__(
        self, router: Router, connection: Connection, endpoint: Endpoint, model: str
    ) -> None:
        self._router = router
        self._connection = connection
        self._endpoint = endpoint
        self._model = model
        self._upstream: Upstream | None = None
        self._begun = False
        self._over = False

    def attach(self, upstream: Upstream) -> bool:
        """Tie the client's leaving and its pace to the connection."""
        if self._over:
            return False
        self._upstream = upstream
        transport = upstream.transport
        if transport is not None:
            self._connection.on_pause = transport.pause_reading
            self._connection.on_resume = transport.resume_reading
        return True

    def on_head(self, head: bytes, rest: bytes) -> None:
        """Send the head on, with the replica's name in it."""
        self._begun = True
        names = b"%s: %s\r\n" % (SERVED_BY, self._endpoint.address.encode())
        names += self._router.profile.answer_headers(self._endpoint)
        self._connection.transport.write(b"%s%s\r\n%s" % (head, names, rest))

    def on_data(self, data: bytes) -> None:
        """Send a piece of the body on."""
        self._connection.transport.write(data)

    def on_end(self, *, keep_alive: bool) -> None:
        """Finish."""
        if self._end():
            request = self._connection.current
            wanted = request is not None and request.keep_alive
            self._connection.done(keep_alive=keep_alive and wanted)

    def on_failure(self, reason: str) -> None:
        """Answer 502, or cut off what was begun."""
        if not self._end():
            return
        self._endpoint.errors += 1
        _LOG.warning("replica %s: %s", self._endpoint.address, reason)
        self._router.metrics.errors[self._model, 502] += 1
        if self._begun:
            self._connection.on_lost = None
            self._connection.transport.abort()
        else:
            message = f"replica {self._endpoint.address} did not answer: {reason}"
            self._connection.fail(502, message)

    def on_client_lost(self) -> None:
        """Close the way to the replica, so that it stops computing."""
        if self._end() and self._upstream is not None:
            self._upstream.abandon()

    def _end(self) -> bool:
        if self._over:
            return False
        self._over = True
        self._endpoint.active -= 1
        return True


class Router:
    """Replicas, a scheduling profile, and what it learnt.

    Attributes:
        endpoints: the replicas that requests may go to.
    """

    def __init__(self, config: PickerConfig, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - load balancing is no secret
        self.profile = Profile(config, self._rng)
        self.metrics = RouterMetrics()
        self.endpoints: list[Endpoint] = []
        self._pools: dict[Endpoint, Pool] = {}
        self._scrapes: dict[Endpoint, asyncio.Task[None]] = {}
        self._generation: object = None
        for _, scorer in self.profile.scorers:
            if isinstance(scorer, PrefixCache):
                scorer.observe = self.metrics.observe_prefix

    # replicas

    def follow(self, urls: Iterable[str], generation: object = None) -> None:
        """Route to these replicas from now on; those not among them are forgotten.

        Args:
            urls: of the replicas.
            generation: whose replicas they are: under another one, a replica at the same address
                is a new one, of which nothing is known.
        """
        wanted = {endpoint.address: endpoint for endpoint in map(Endpoint.at, urls)}
        for endpoint in tuple(self.endpoints):
            if endpoint.address in wanted and generation == self._generation:
                del wanted[endpoint.address]
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
        self.profile.drop(endpoint)

    def close(self) -> None:
        """Stop scraping, close what is idle."""
        for endpoint in tuple(self.endpoints):
            self._drop(endpoint)

    # HTTP

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, or pass it on."""
        path = request.path.partition("?")[0]
        if path == "/health":
            connection.reply(200, b"")
        elif path == "/metrics":
            text = self.metrics.render(self.endpoints, self._prefix_entries())
            connection.reply(200, text.encode(), http.METRICS_TEXT)
        elif path == "/reset":
            if request.method != "POST":
                connection.fail(405, "/reset takes POST")
                return
            self.profile.reset()
            connection.reply(200, orjson.dumps({"success": True}))
        elif path in _GENERATE:
            self._generate(request, connection)
        elif path in _PASSED and request.method == "GET":
            # Like the picker, which sends a request without a body to any replica.
            if self._has_replicas(connection, _UNKNOWN):
                self._pass(request, connection, self._rng.choice(self.endpoints), _UNKNOWN)
        else:
            connection.fail(404, f"the router has nothing at {path}; replicas are asked directly")

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
        endpoint = self.profile.choose(incoming, self.endpoints)
        self.metrics.scheduling.observe(time.perf_counter() - began)
        self._pass(request, connection, endpoint, incoming.model)

    def _has_replicas(self, connection: Connection, model: str) -> bool:
        if self.endpoints:
            return True
        self.metrics.errors[model, 503] += 1
        connection.fail(503, "no replica is ready")
        return False

    def _pass(
        self, request: Request, connection: Connection, endpoint: Endpoint, model: str
    ) -> None:
        passage = _Passage(self, connection, endpoint, model)
        endpoint.requests += 1
        endpoint.active += 1
        connection.on_lost = passage.on_client_lost
        self._pools[endpoint].send(_onward(request, endpoint), passage)

    def _prefix_entries(self) -> int:
        return sum(
            len(scorer.index)
            for _, scorer in self.profile.scorers
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


def _onward(request: Request, endpoint: Endpoint) -> bytes:
    version = b"1.1" if request.chunked else b"1.0"
    lines = [
        b"%s %s HTTP/%s\r\nhost: %s\r\ncontent-length: %d\r\n"
        % (
            request.method.encode(),
            request.path.encode("latin-1"),
            version,
            endpoint.address.encode(),
            len(request.body),
        )
    ]
    lines += [
        b"%s: %s\r\n" % (name, value)
        for name, value in request.headers.items()
        if name not in _OURS
    ]
    return b"".join([*lines, b"\r\n", request.body])


async def route(
    config: PickerConfig,
    *,
    servers_file: Path,
    host: str,
    port: int,
    announce_file: Path | None,
    stop: asyncio.Event,
) -> None:
    """Route to the replicas that ``servers_file`` names, following its changes, until ``stop``."""
    router = Router(config)
    listener = Listener(router)
    seen: tuple[int, ...] | None = ()
    try:
        seen = follow_file(router, servers_file, seen)
        url = await listener.open(host, port)
        if announce_file is not None:
            announce(announce_file, {"pid": os.getpid(), "router": url})
        _LOG.info("routing at %s", url)
        while not stop.is_set():
            seen = follow_file(router, servers_file, seen)
            try:
                await asyncio.wait_for(stop.wait(), POLL_S)
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
    urls: list[str] = []
    generation = None
    if now is not None:
        try:
            document = orjson.loads(file.read_bytes())
            urls = [str(url) for url in document["servers"]]
            generation = document.get("pid")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("%s is no announcement of servers: %r", file, error)
    try:
        router.follow(urls, generation)
    except ValueError as error:
        _LOG.warning("%s: %s", file, error)
        router.follow([], generation)
    _LOG.info("%d replicas: %s", len(router.endpoints), " ".join(urls) or "none")
    return now
