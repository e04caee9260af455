"""The simulated model server: N replicas in one process, one event loop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmatrix.sim import presets
from llmatrix.sim.alarm import Alarms
from llmatrix.sim.disaggregation import Prefills
from llmatrix.sim.faults import Disturbance, Fault
from llmatrix.sim.filtering import ROLE
from llmatrix.sim.http import Application
from llmatrix.sim.latency import KV_TRANSFER_BYTES_PER_S, kv_capacity, step_time
from llmatrix.sim.listening import Listener, announce
from llmatrix.sim.membership import Membership
from llmatrix.sim.outages import Outages
from llmatrix.sim.profiles import PickerConfig
from llmatrix.sim.replica import Replica
from llmatrix.sim.router import Router
from llmatrix.sim.scheduler import Engine, Limits

_LOG: Final = logging.getLogger(__name__)


class BadSetting(ValueError):
    """Settings under which no server could start; the text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is served.

    Attributes:
        port: of the first replica, the others follow; 0 for free ports.
        kv_cache_tokens: tokens of one replica's KV cache; None for what the accelerator leaves.
        startup_seconds: how long replicas answer 503 before they are ready.
        announce: file that is written when all are ready.
        first_replica: the first one's number, where others are served by other programs.
        jitter: standard deviation of the logarithm of steps' durations.
        seed: of the jitter.
        faults: what goes wrong; those of replicas with other numbers are passed over.
        faults_when_told: whether the time of faults begins only when ``POST /faults`` says so, and
            not when the replicas are ready.
        role: of all replicas: prefill, decode or, empty, both.
        prefill_replicas: how many of them prefill only; the others then decode.
        kv_transfer_bandwidth: bytes per second with which a replica that decodes fetches KV
            entries; None for what its accelerators' ports have.
    """

    model: str
    accelerator: str = "H100"
    tensor_parallel: int = 1
    replicas: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    limits: Limits = field(default_factory=Limits)
    kv_cache_tokens: int | None = None
    max_model_len: int = 32768
    startup_seconds: float = 0.0
    announce: Path | None = None
    first_replica: int = 0
    jitter: float = 0.0
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    faults_when_told: bool = False
    role: str = ""
    prefill_replicas: int = 0
    kv_transfer_bandwidth: float | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        """What each replica does: prefill, decode, or, empty, both."""
        if not self.prefill_replicas:
            return (self.role,) * self.replicas
        decode = self.replicas - self.prefill_replicas
        return ("prefill",) * self.prefill_replicas + ("decode",) * decode


def make_engines(settings: Settings) -> list[Engine]:
    """Make the engine of each replica.

    Raises:
        UnknownPreset: no such accelerator or model.
        DoesNotFit: the model does not fit in the accelerator's memory.
        BadSetting: the KV cache holds less than one block.
    """
    accelerator = presets.accelerator(settings.accelerator)
    model = presets.model(settings.model)
    fits = kv_capacity(accelerator, model, settings.tensor_parallel)
    kv_tokens = fits if settings.kv_cache_tokens is None else settings.kv_cache_tokens
    if kv_tokens < 2 * settings.limits.block_size:
        raise BadSetting(
            f"a KV cache of {kv_tokens} tokens holds less than two blocks of "
            f"{settings.limits.block_size}; give it more tokens or smaller blocks"
        )
    if model.approximated:
        _LOG.info("model %s is approximated: %s", model.name, model.source)
    times = step_time(accelerator, model, settings.tensor_parallel)
    _LOG.info("each replica's KV cache holds %d tokens", kv_tokens)
    return [Engine(settings.limits, times, kv_tokens) for _ in range(settings.replicas)]


async def serve(
    settings: Settings,
    engines: Iterable[Engine],
    router: PickerConfig | None,
    stop: asyncio.Event,
) -> None:
    """Serve these engines until ``stop`` is set; with ``router`` also route, in this process.

    Raises:
        OSError: an address cannot be listened at.
    """
    with ExitStack() as closing:
        served = _replicas(settings, engines, closing)
        ports = [settings.port + index if settings.port else 0 for index in range(len(served) + 1)]
        urls = [
            await listener.open(settings.host, port)
            for (_, listener), port in zip(served, ports, strict=False)
        ]
        if await _stopped_within(stop, settings.startup_seconds):
            return
        _start(settings, [replica for replica, _ in served])
        members = _members(settings, urls)
        document: dict[str, object] = {"pid": os.getpid(), "model": settings.model}
        document |= members.document()
        if router is not None:
            routing = Router(router)
            closing.callback(routing.close)
            routing.follows = "the servers of its own process"
            routing.follow(members)
            document["router"] = await _listening(routing, closing).open(settings.host, ports[-1])
            _LOG.info("routing at %s", document["router"])
        if settings.announce is not None:
            announce(settings.announce, document)
        _LOG.info("serving %s at %s", settings.model, " ".join(urls))
        await stop.wait()


def _replicas(
    settings: Settings, engines: Iterable[Engine], closing: ExitStack
) -> list[tuple[Replica, Listener]]:
    """Make the replicas, each with what will listen for it; ``closing`` learns what to close."""
    alarms = Alarms(asyncio.get_running_loop())
    closing.callback(alarms.close)
    prefills = _prefills(settings)
    closing.callback(prefills.close)
    served = []
    for index, (engine, role) in enumerate(zip(engines, settings.roles, strict=True)):
        number = settings.first_replica + index
        replica = Replica(
            settings.model,
            engine,
            alarms,
            settings.max_model_len,
            Disturbance(settings.faults, settings.jitter, settings.seed, number),
            prefills if role == "decode" else None,
        )
        listener = _listening(replica, closing)
        crashes = [f for f in settings.faults if f.kind == "crash" and f.replica == number]
        if crashes:
            replica.outages = Outages(crashes, listener, replica.crash, replica.start)
            closing.callback(replica.outages.close)
        served.append((replica, listener))
    longest = served[0][0].max_model_len
    if longest < settings.max_model_len:
        _LOG.info("sequences are limited to %d tokens: the KV cache", longest)
    return served


def _listening(application: Application, closing: ExitStack) -> Listener:
    listener = Listener(application)
    closing.callback(listener.close)
    return listener


def _start(settings: Settings, replicas: Iterable[Replica]) -> None:
    """Let all replicas be ready, at one moment for their faults."""
    now = math.inf if settings.faults_when_told else time.monotonic()
    for replica in replicas:
        replica.start()
        replica.begin_faults(now)


def _members(settings: Settings, urls: Sequence[str]) -> Membership:
    labels = {url: {ROLE: role} for url, role in zip(urls, settings.roles, strict=True) if role}
    return Membership(tuple(urls), labels)


def _prefills(settings: Settings) -> Prefills:
    model = presets.model(settings.model)
    bandwidth = settings.kv_transfer_bandwidth or KV_TRANSFER_BYTES_PER_S * settings.tensor_parallel
    return Prefills(model.kv_bytes_per_token, bandwidth)


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
