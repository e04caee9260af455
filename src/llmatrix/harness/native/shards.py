"""The measuring processes of one workload, as the parent holds them: started, followed, ended."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final

from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.harness.native.orders import (
    ANSWERED,
    COLLECT,
    END,
    FAILURE,
    FIGURES,
    PROGRESS,
    READY,
    START,
    WRITTEN,
    Orders,
)
from llmatrix.harness.protocol import Progress

_POLL_S: Final = 0.1
_LEAD_NS: Final = 10_000_000
_SLACK_S: Final = 120.0
_LOG_BYTES: Final = 8192

Message = dict[str, Any]


@dataclass(slots=True)
class Shard:
    """One measuring process and the last that it told of each kind."""

    number: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    told: dict[str, Message] = field(default_factory=dict)
    rest: bytes = b""

    def tell(self, kind: str, **fields: Any) -> None:
        """Tell it something; that it is dead is found out by reading."""
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")
            self.process.stdin.flush()

    def tail(self) -> str:
        """Give the end of what it wrote to its log."""
        size = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size - _LOG_BYTES))
        return self.log.read().decode("utf-8", "replace")


@contextmanager
def started(orders: Orders) -> Iterator[list[Shard]]:
    """Start every shard of these orders; none is left running afterwards."""
    shards: list[Shard] = []
    try:
        for number in range(orders.shards):
            log = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, with its process
            process = subprocess.Popen(
                [sys.executable, "-m", "llmatrix.harness.native.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
            shard = Shard(number, process, log)
            shards.append(shard)
            assert process.stdin is not None  # noqa: S101 - it was asked for
            with suppress(BrokenPipeError):
                process.stdin.write(replace(orders, shard=number).to_line())
                process.stdin.flush()
        yield shards
    finally:
        for shard in shards:
            shard.process.kill()
        for shard in shards:
            shard.process.wait()
            for pipe in (shard.process.stdin, shard.process.stdout, shard.log):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the shards told: their figures, in order, the zero of all, and notes."""

    figures: Sequence[Message]
    started_at: float
    notes: list[str]


class Following:
    """Takes shards through a run together.

    All are started at one moment, once every one is ready, on the clock that the processes of a
    machine share (``CLOCK_MONOTONIC``); all end at one moment, once the window's requests of every
    one have ended, for the load of each is part of what the others' requests meet; and the first
    writes down what all found.
    """

    def __init__(
        self, shards: Sequence[Shard], orders: Orders, progress: Callable[[Progress], None]
    ) -> None:
        self._shards = shards
        self._progress = progress
        self._deadline = time.monotonic() + orders.window[1] + orders.drain + _SLACK_S
        self._started_at = 0.0
        self._done: set[str] = set()

    def outcome(self, stop: threading.Event) -> Outcome:
        """Follow the run to its end.

        Raises:
            Stopped: the event was set.
            StepFailure: USER: the workload cannot be sent; SERVER: nothing but failing connections
                was met; WORKLOAD: a shard broke, or is silent beyond all time.
        """
        with selectors.DefaultSelector() as selector:
            for shard in self._shards:
                assert shard.process.stdout is not None  # noqa: S101 - it was asked for
                selector.register(shard.process.stdout, selectors.EVENT_READ, shard)
            while not self._take_steps():
                if stop.is_set():
                    raise Stopped("the workload was stopped; nothing of this trial is kept")
                if time.monotonic() > self._deadline:
                    raise StepFailure(
                        "the load generator did not end in time; it was killed",
                        FailureClass.WORKLOAD,
                    )
                for key, _ in selector.select(_POLL_S):
                    if not self._hear(key.data):
                        selector.unregister(key.fileobj)
        return self._ended()

    def _hear(self, shard: Shard) -> bool:
        """Take what a shard tells; false at its end.

        Raises:
            StepFailure: it ended before it had told everything.
        """
        assert shard.process.stdout is not None  # noqa: S101 - it was asked for
        read = os.read(shard.process.stdout.fileno(), 65536)
        *lines, shard.rest = (shard.rest + read).split(b"\n")
        for line in lines:
            message = json.loads(line)
            kind = message.pop("kind")
            shard.told[kind] = message
            if kind == FAILURE:
                raise StepFailure(message["message"], FailureClass.USER, log=shard.tail())
            if kind == PROGRESS and all(PROGRESS in other.told for other in self._shards):
                self._progress(self._sum())
        last = WRITTEN if shard.number == 0 else FIGURES
        if not read and last not in shard.told:
            raise self._broken(shard)
        return bool(read)

    def _broken(self, shard: Shard) -> StepFailure:
        code = shard.process.wait()
        which = f", process {shard.number + 1} of {len(self._shards)}," * (len(self._shards) > 1)
        message = f"the load generator{which} ended with code {code} and said nothing"
        return StepFailure(message, FailureClass.WORKLOAD, log=shard.tail())

    def _sum(self) -> Progress:
        told = [shard.told[PROGRESS] for shard in self._shards]
        sums = {name: sum(each[name] for each in told) for name in ("sent", "done", "failed")}
        return Progress(**{**told[0], **sums})

    def _take_steps(self) -> bool:
        """Take every step of the run for which all shards have come far enough."""
        if self._all(READY) and self._first_time(START):
            zero = time.monotonic_ns() + _LEAD_NS
            self._started_at = time.time() + _LEAD_NS / 1e9
            self._tell_all(START, zero=zero, started_at=self._started_at)
        outage = any((shard.told.get(FIGURES) or {}).get("outage") for shard in self._shards)
        if (self._all(ANSWERED, FIGURES) or outage) and self._first_time(END):
            self._tell_all(END)
        if self._all(FIGURES) and self._first_time(COLLECT):
            self._shards[0].tell(COLLECT)
        return WRITTEN in self._shards[0].told

    def _all(self, *kinds: str) -> bool:
        return all(any(kind in shard.told for kind in kinds) for shard in self._shards)

    def _first_time(self, step: str) -> bool:
        first = step not in self._done
        self._done.add(step)
        return first

    def _tell_all(self, kind: str, **fields: Any) -> None:
        for shard in self._shards:
            shard.tell(kind, **fields)

    def _ended(self) -> Outcome:
        figures = [shard.told[FIGURES] for shard in self._shards]
        for shard, each in zip(self._shards, figures, strict=True):
            if each["outage"]:
                message = f"the server answered nothing for 5 s: {each['outage']}"
                raise StepFailure(message, FailureClass.SERVER, log=shard.tail())
        notes = [note for each in figures for note in each["notes"]]
        notes += self._shards[0].told[WRITTEN]["notes"]
        return Outcome(figures, self._started_at, list(dict.fromkeys(notes)))
