"""A server of known latencies, and clients that are run against it: what the benchmarks share.

The server and the bare client are C programs (``truth_server.c``, ``epoll_client.c``); gcc makes
both. Each run has a server of its own, which says afterwards when each request came and ended, and
how late it was itself.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmatrix.harness.native.parent import NativeHarness
from llmatrix.harness.protocol import Job, Measurement, Progress
from llmatrix.spec.experiment import Model
from llmatrix.spec.workloads import RandomWorkload
from llmatrix.target import Target

TTFT_MS, ITL_MS, TOKENS, PROMPT = 50.0, 10.0, 100, 100
WARMUP_S = 2 * (TTFT_MS + (TOKENS - 1) * ITL_MS) / 1e3
"""Twice one answer: slots begin over one answer's time, so that ends come evenly ever after."""
HERE = Path(__file__).parent

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass
class Truth:
    """One life of the server: where it listens, and what it told when it ended.

    Times count from the first arrival, which was at ``zero`` (monotonic seconds).
    """

    port: int
    zero: float = 0.0
    arrived: Numbers = field(default_factory=lambda: np.empty(0))
    ended: Numbers = field(default_factory=lambda: np.empty(0))
    own: dict[str, float] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def per_second(self, window_s: float) -> float:
        """Answers that ended in the window, per second."""
        after = self.ended - WARMUP_S
        return float(np.count_nonzero((after >= 0) & (after < window_s))) / window_s

    def arrival_cv(self, window_s: float) -> float:
        """Coefficient of variation of the gaps between arrivals in the window."""
        after = self.arrived - WARMUP_S
        gaps = np.diff(after[(after >= 0) & (after < window_s)])
        return float(gaps.std() / gaps.mean())


@dataclass(frozen=True)
class Run:
    """What a client said of one run, and the server beside it; times in ms."""

    per_second: float
    ttft_p50: float
    ttft_p99: float
    itl_p99: float
    cpu_per_1000: float
    own: dict[str, float]
    lag_p99: float = 0.0
    arrival_cv: float = 0.0


def build(folder: Path) -> None:
    """Make both C programs."""
    for name in ("truth_server", "epoll_client"):
        source, program = HERE / f"{name}.c", folder / name
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)


@contextmanager
def truth(folder: Path, tokens: int = TOKENS) -> Iterator[Truth]:
    """Run a server; what it knows is there when the block has ended."""
    log = folder / "truth.log"
    times = [f"{TTFT_MS * 1e3:.0f}", f"{ITL_MS * 1e3:.0f}", str(tokens)]
    command = [str(folder / "truth_server"), *times, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            found = Truth(int(server.stdout.readline()))
            yield found
        finally:
            server.terminate()
        found.own = json.loads(server.stdout.read())
    stamps = np.fromfile(log, dtype=np.int64).reshape(-1, 2) / 1e9
    if stamps.size:
        found.zero = zero = float(stamps[:, 0].min())
        found.arrived, found.ended = np.sort(stamps[:, 0] - zero), stamps[:, 1] - zero


def epoll(folder: Path, streams: int, seconds: float) -> Run:
    """Run the bare client in a closed loop."""
    with truth(folder) as server:
        command = [str(folder / "epoll_client"), str(server.port), str(streams), str(WARMUP_S)]
        output = subprocess.run(
            [*command, str(seconds), str(PROMPT)], check=True, stdout=subprocess.PIPE
        ).stdout
    said = json.loads(output)
    rate = server.per_second(seconds)
    cpu = said["cpu_s"] / (rate * seconds) * 1e3
    figures = (said["ttft_ms_p50"], said["ttft_ms_p99"], said["itl_ms_p99"])
    return Run(rate, *figures, cpu, server.own)


def workload(load: dict[str, object], seconds: float, **fields: object) -> RandomWorkload:
    """Ask for random prompts and answers of the server's length."""
    return RandomWorkload.model_validate(
        {
            "kind": "random",
            "question_len": PROMPT,
            "output_len": TOKENS,
            "load": load,
            "warmup": WARMUP_S,
            "duration": seconds,
            **fields,
        }
    )


def send(
    folder: Path,
    server: Truth,
    asked: RandomWorkload,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Measurement:
    """Send a workload with the native harness."""
    job = Job(Target(server.url, "truth"), Model(name="truth"), asked, 1, folder)
    return NativeHarness().run(job, progress=progress, stop=threading.Event())


def window_of(folder: Path) -> Any:
    """Read the rows of the measured window."""
    rows = pq.read_table(folder / "requests.parquet")
    return rows.filter(pc.equal(rows["phase"], "window"))


def native(folder: Path, load: dict[str, object], seconds: float, shards: object = 1) -> Run:
    """Run the native harness, with all its checks of the answers."""
    with truth(folder) as server:
        measurement = send(folder, server, workload(load, seconds, shards=shards))
    window = window_of(folder)
    failed = window.num_rows - window["error"].null_count
    if window.num_rows and failed:
        raise SystemExit(f"{window.num_rows} requests, {failed} failed: {window['error_detail']}")
    ttft = window["ttft_ms"].to_numpy()
    itl = pc.list_flatten(window["itl_ms"]).to_numpy()
    lag = (window["sent_s"].to_numpy() - window["scheduled_s"].to_numpy()) * 1e3
    rate = server.per_second(seconds)
    cpu = sum(sender.cpu or 0.0 for sender in measurement.senders)
    return Run(
        per_second=rate,
        ttft_p50=float(np.quantile(ttft, 0.5)),
        ttft_p99=float(np.quantile(ttft, 0.99)),
        itl_p99=float(np.quantile(itl, 0.99)),
        cpu_per_1000=cpu / rate * 1e3,
        own=server.own,
        lag_p99=float(np.quantile(lag, 0.99)),
        arrival_cv=server.arrival_cv(seconds),
    )
