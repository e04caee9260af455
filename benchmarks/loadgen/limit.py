"""The native harness against the least that a client can do, and against a server that knows.

`.venv/bin/python benchmarks/loadgen/limit.py [--streams 16 64 256 512] [--rates 100 400]
[--seconds 4] [--repetitions 3]`

A server of known latencies (`truth_server.c`: TTFT 50 ms, ITL 10 ms, 100 tokens) answers in turn a
bare epoll client (`epoll_client.c`, the limit) and the native harness; gcc makes both. Each run has
a server of its own. Rates are counted at the server, for both clients alike; a figure is the median
of the repetitions, a ratio the median of the ratios of each pair of runs, so that a neighbour who
takes the machine now and then weighs on both. How late the server itself was, a C program that only
waits and writes, tells what the machine allowed. Ends with 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmatrix.harness.native.parent import NativeHarness
from llmatrix.harness.protocol import Job
from llmatrix.spec.experiment import Model
from llmatrix.spec.workloads import RandomWorkload
from llmatrix.target import Target

TTFT_MS, ITL_MS, TOKENS, PROMPT = 50.0, 10.0, 100, 100
WARMUP_S = 2 * (TTFT_MS + (TOKENS - 1) * ITL_MS) / 1e3
"""Twice one answer: slots begin over one answer's time, so that ends come evenly ever after."""
HERE = Path(__file__).parent


@dataclass
class Truth:
    """One life of the server: where it listens, and what it told when it ended."""

    port: int
    arrived: np.ndarray[tuple[int], np.dtype[np.float64]] = field(
        default_factory=lambda: np.empty(0)
    )
    ended: np.ndarray[tuple[int], np.dtype[np.float64]] = field(default_factory=lambda: np.empty(0))
    own: dict[str, float] = field(default_factory=dict)

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
    for name in ("truth_server", "epoll_client"):
        source, program = HERE / f"{name}.c", folder / name
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)


@contextmanager
def truth(folder: Path) -> Iterator[Truth]:
    """Run a server; what it knows is there when the block has ended."""
    log = folder / "truth.log"
    times = [f"{TTFT_MS * 1e3:.0f}", f"{ITL_MS * 1e3:.0f}", str(TOKENS)]
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
    zero = stamps[:, 0].min()
    found.arrived, found.ended = np.sort(stamps[:, 0] - zero), stamps[:, 1] - zero


def epoll(folder: Path, streams: int, seconds: float) -> Run:
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


def native(folder: Path, load: dict[str, object], seconds: float) -> Run:
    workload = RandomWorkload.model_validate(
        {
            "kind": "random",
            "question_len": PROMPT,
            "output_len": TOKENS,
            "load": load,
            "warmup": WARMUP_S,
            "duration": seconds,
        }
    )
    with truth(folder) as server:
        target = Target(f"http://127.0.0.1:{server.port}", "truth")
        job = Job(target, Model(name="truth"), workload, 1, folder)
        measurement = NativeHarness().run(job, progress=lambda _: None, stop=threading.Event())
    rows = pq.read_table(folder / "requests.parquet")
    window = rows.filter(pc.equal(rows["phase"], "window"))
    failed = window.num_rows - window["error"].null_count
    if window.num_rows and failed:
        raise SystemExit(f"{window.num_rows} requests, {failed} failed: {window['error_detail']}")
    ttft = window["ttft_ms"].to_numpy()
    itl = pc.list_flatten(window["itl_ms"]).to_numpy()
    lag = (window["sent_s"].to_numpy() - window["scheduled_s"].to_numpy()) * 1e3
    rate = server.per_second(seconds)
    assert measurement.client_cpu is not None
    return Run(
        per_second=rate,
        ttft_p50=float(np.quantile(ttft, 0.5)),
        ttft_p99=float(np.quantile(ttft, 0.99)),
        itl_p99=float(np.quantile(itl, 0.99)),
        cpu_per_1000=measurement.client_cpu / rate * 1e3,
        own=server.own,
        lag_p99=float(np.quantile(lag, 0.99)),
        arrival_cv=server.arrival_cv(seconds),
    )


class Verdicts:
    """Limits, each printed with what was found."""

    def __init__(self) -> None:
        self.missed = 0

    def hold(self, name: str, figure: float, limit: float, *, least: bool = False) -> None:
        kept = figure >= limit if least else figure <= limit
        self.missed += not kept
        sign = ">=" if least else "<="
        print(f"  {name}: {figure:.3f}; limit {sign} {limit:g}: {'kept' if kept else 'missed'}")


def middle(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    return median(of(run) for run in runs)


def closed(folder: Path, streams: int, args: argparse.Namespace, verdicts: Verdicts) -> None:
    """Run both clients in turn, and print their rows and the limits."""
    pairs: list[tuple[Run, Run]] = []
    for turn in range(args.repetitions):
        first = native(folder, {"concurrency": streams}, args.seconds) if turn % 2 else None
        bare = epoll(folder, streams, args.seconds)
        pairs.append((bare, first or native(folder, {"concurrency": streams}, args.seconds)))
    ours = [run for _, run in pairs]
    for name, runs in (("epoll", [b for b, _ in pairs]), ("native", ours)):
        print(
            f"{streams:4d} streams {name:6s} {middle(runs, lambda r: r.per_second):7.1f}/s"
            f"  TTFT p50 {middle(runs, lambda r: r.ttft_p50):6.2f}"
            f" p99 {middle(runs, lambda r: r.ttft_p99):7.2f} ms"
            f"  ITL p99 {middle(runs, lambda r: r.itl_p99):6.2f} ms"
            f"  CPU {middle(runs, lambda r: r.cpu_per_1000):5.2f} s/1,000"
            f"  (server late: first p99 {middle(runs, lambda r: r.own['first_ms_p99']):.2f},"
            f" token p99 {middle(runs, lambda r: r.own['token_ms_p99']):.2f} ms)",
            flush=True,
        )
    error = abs(middle(ours, lambda r: r.ttft_p50) - TTFT_MS)
    verdicts.hold("TTFT p50, ms from the truth", error, 1.0)
    if streams >= 64:
        share = median(o.per_second / b.per_second for b, o in pairs)
        verdicts.hold("rate / the limit's", share, 0.98, least=True)
    if streams == 256:
        verdicts.hold("TTFT p99 - truth, ms", middle(ours, lambda r: r.ttft_p99) - TTFT_MS, 10.0)
        verdicts.hold("ITL p99 - truth, ms", middle(ours, lambda r: r.itl_p99) - ITL_MS, 10.0)
    cpu = median(o.cpu_per_1000 / b.cpu_per_1000 for b, o in pairs)
    if streams == 256:
        verdicts.hold("CPU / the limit's", cpu, 1.8)
    else:
        print(f"  CPU / the limit's: {cpu:.3f}")


def opened(folder: Path, rate: float, args: argparse.Namespace, verdicts: Verdicts) -> None:
    """Send constant arrivals, and look at them from both ends."""
    load: dict[str, object] = {"rate": rate, "arrivals": "constant"}
    runs = [native(folder, load, args.seconds) for _ in range(args.repetitions)]
    print(
        f"{rate:4g}/s constant native {middle(runs, lambda r: r.per_second):7.1f}/s"
        f"  TTFT p50 {middle(runs, lambda r: r.ttft_p50):6.2f} ms"
        f"  (server late: first p99 {middle(runs, lambda r: r.own['first_ms_p99']):.2f} ms)",
        flush=True,
    )
    verdicts.hold("dispatch lag p99, ms", middle(runs, lambda r: r.lag_p99), 3.0)
    verdicts.hold("arrival CV at the server", middle(runs, lambda r: r.arrival_cv), 0.15)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, nargs="*", default=[16, 64, 256, 512])
    parser.add_argument("--rates", type=float, nargs="*", default=[100.0, 400.0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for streams in args.streams:
            closed(folder, streams, args, verdicts)
        for rate in args.rates:
            opened(folder, rate, args, verdicts)
        print(f"load average after: {os.getloadavg()[0]:.1f}")
    print(f"{verdicts.missed} limits missed" if verdicts.missed else "all limits kept")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
