"""What every harness does: send one trial's workload to a target and time the answers.

Whatever program does the sending, its findings end in the same three files of ``Job.folder``:
``requests.parquet`` (columns of ``REQUEST_COLUMNS``), ``server.parquet`` (``SERVER_COLUMNS``) and,
for a foreign program, ``native/`` with what it wrote itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from llmatrix.spec.experiment import Model, Treatment
from llmatrix.spec.workloads import Workload
from llmatrix.target import Target


@dataclass(frozen=True, slots=True)
class Job:
    """One workload to be sent.

    Attributes:
        target: where to.
        model: vocabulary and tokenizer of the prompts.
        workload: the traffic.
        seed: of prompts and arrivals.
        folder: existing folder for what is found.
    """

    target: Target
    model: Model
    workload: Workload
    seed: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workload is, told about twice a second.

    Attributes:
        phase: ``warmup``, ``window`` or ``drain``.
        elapsed_s: seconds since the first request was scheduled.
        total_s: seconds that warm-up and window take.
        sent, done, failed: requests so far.
    """

    phase: str
    elapsed_s: float
    total_s: float
    sent: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Sender:
    """What one sending process saw of itself in the window; None where nobody could see it.

    Attributes:
        loop_lag_ms_p99: 99th percentile of how late its event loop ran its own timer.
        cpu: CPU seconds of the process per second.
        cpu_wait: share of the window in which it was ready to run and had no core.
        steal: CPU seconds per second that the host of this machine gave to others.
        throttled: share of the window in which its control group was held back for its quota.
        preempted_per_s: times per second that a core was taken from it.
        cores: on which it may run.
        rss_bytes: its largest resident memory.
    """

    loop_lag_ms_p99: float | None = None
    cpu: float | None = None
    cpu_wait: float | None = None
    steal: float | None = None
    throttled: float | None = None
    preempted_per_s: float | None = None
    cores: int | None = None
    rss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a harness says about its own run; everything per request is in the files.

    Attributes:
        window_s: start and end of the measured window, in seconds since the first request was
            scheduled, the zero of every time in the files.
        started_at: that zero as POSIX seconds.
        loop_lag_ms_p99: 99th percentile of how late the sender's event loop ran its own timer in
            the window, of several the worst; None where the harness does not tell.
        client_cpu: CPU seconds of the sender per second of the window, of several the busiest (1.0
            is one core fully used, which is all that a process of one thread can use).
        connections_opened: TCP connections opened during the window.
        notes: anything that a reader of the record should know.
        senders: each sending process; empty where the harness does not tell.
        asked_in_window: requests that the schedule has in the window, where only the harness
            knows (a trace); None elsewhere.
    """

    window_s: tuple[float, float]
    started_at: float
    loop_lag_ms_p99: float | None
    client_cpu: float | None
    connections_opened: int | None
    notes: list[str] = field(default_factory=list)
    senders: tuple[Sender, ...] = ()
    asked_in_window: int | None = None


class Harness(Protocol):
    """A program that sends the workload and times the answers."""

    name: ClassVar[str]
    version: ClassVar[str]
    """Changes whenever the same traffic would be measured differently; part of every trial's id."""

    def preflight(self, treatment: Treatment) -> None:
        """Check what can be checked before anything is started; touches nothing.

        Raises:
            UserError: no workload of this model can be sent.
        """

    def run(
        self, job: Job, *, progress: Callable[[Progress], None], stop: threading.Event
    ) -> Measurement:
        """Send the workload; return when the window's last answer is in, or given up on.

        Raises:
            StepFailure: the workload could not be sent at all, or the harness broke. Requests
                that fail are no failure of the harness: they are rows with an ``error``.
            Stopped: ``stop`` was set meanwhile.
        """
