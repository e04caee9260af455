"""The native harness against the least that a client can do, and against a server that knows.

`.venv/bin/python benchmarks/loadgen/limit.py [--streams 16 64 256 512] [--rates 100 400]
[--seconds 4] [--repetitions 5] [--shards 1]`

A server of known latencies (`truth_server.c`: TTFT 50 ms, ITL 10 ms, 100 tokens) answers in turn a
bare epoll client (`epoll_client.c`, the limit) and the native harness, in one process unless told
otherwise. Each run has a server of its own. Rates are counted at the server, for both clients
alike; a figure is the median of the repetitions, a ratio the median of the ratios of each pair of
runs, so that a neighbour who takes the machine now and then weighs on both. How late the server
itself was, a C program that only waits and writes, tells what the machine allowed; where its median
is off by more than 0.5 ms it is no truth, and that is a limit, too. Ends with a table of every
limit with what was found, and with 1 if one is missed. `--streams` or `--rates` with nothing behind
them leave a part out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from truth import ITL_MS, TTFT_MS, Run, build, epoll, native


@dataclass(frozen=True)
class Row:
    """One limit, and what was found."""

    what: str
    figure: float
    limit: float
    least: bool

    @property
    def kept(self) -> bool:
        return self.figure >= self.limit if self.least else self.figure <= self.limit

    @property
    def cells(self) -> tuple[str, str, str, str]:
        sign = ">=" if self.least else "<="
        told = "kept" if self.kept else "missed"
        return self.what, f"{self.figure:.3f}", f"{sign} {self.limit:g}", told


class Verdicts:
    """Limits, each printed with what was found, and all together at the end."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def hold(
        self, load: str, name: str, figure: float, limit: float, *, least: bool = False
    ) -> None:
        row = Row(f"{load}: {name}", figure, limit, least)
        self.rows.append(row)
        _, found, within, told = row.cells
        print(f"  {name}: {found}; limit {within}: {told}", flush=True)

    @property
    def missed(self) -> int:
        return sum(not row.kept for row in self.rows)

    def table(self) -> str:
        """Write all of them in Markdown."""
        lines = ["| what | found | limit | verdict |", "|---|---:|---:|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row.cells)} |" for row in self.rows)])


def middle(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    return median(of(run) for run in runs)


def closed(folder: Path, streams: int, args: argparse.Namespace, verdicts: Verdicts) -> None:
    """Run both clients in turn, and print their rows and the limits."""
    pairs: list[tuple[Run, Run]] = []
    load: dict[str, object] = {"concurrency": streams}
    for turn in range(args.repetitions):
        first = native(folder, load, args.seconds, args.shards) if turn % 2 else None
        bare = epoll(folder, streams, args.seconds)
        pairs.append((bare, first or native(folder, load, args.seconds, args.shards)))
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
    load_told = f"{streams} streams"

    def off(of: Callable[[Run], float], truth_ms: float) -> float:
        return abs(middle(ours, of) - truth_ms)

    late = max(
        middle(runs, lambda r: r.own["first_ms_p50"]) for runs in ([b for b, _ in pairs], ours)
    )
    verdicts.hold(load_told, "server's own lateness p50, ms", late, 0.5)
    verdicts.hold(load_told, "TTFT p50 from truth, ms", off(lambda r: r.ttft_p50, TTFT_MS), 1.0)
    if streams >= 64:
        share = median(o.per_second / b.per_second for b, o in pairs)
        verdicts.hold(load_told, "rate / the limit's", share, 0.98, least=True)
    if streams == 256:
        verdicts.hold(
            load_told, "TTFT p99 from truth, ms", off(lambda r: r.ttft_p99, TTFT_MS), 10.0
        )
        verdicts.hold(load_told, "ITL p99 from truth, ms", off(lambda r: r.itl_p99, ITL_MS), 10.0)
    cpu = median(o.cpu_per_1000 / b.cpu_per_1000 for b, o in pairs)
    if streams == 256:
        verdicts.hold(load_told, "CPU / the limit's", cpu, 1.8)
    else:
        print(f"  CPU / the limit's: {cpu:.3f}")


def opened(folder: Path, rate: float, args: argparse.Namespace, verdicts: Verdicts) -> None:
    """Send constant arrivals, and look at them from both ends."""
    load: dict[str, object] = {"rate": rate, "arrivals": "constant"}
    runs = [native(folder, load, args.seconds, args.shards) for _ in range(args.repetitions)]
    print(
        f"{rate:4g}/s constant native {middle(runs, lambda r: r.per_second):7.1f}/s"
        f"  TTFT p50 {middle(runs, lambda r: r.ttft_p50):6.2f} ms"
        f"  (server late: first p99 {middle(runs, lambda r: r.own['first_ms_p99']):.2f} ms)",
        flush=True,
    )
    told = f"{rate:g}/s constant"
    verdicts.hold(told, "dispatch lag p99, ms", middle(runs, lambda r: r.lag_p99), 3.0)
    verdicts.hold(told, "arrival CV at the server", middle(runs, lambda r: r.arrival_cv), 0.15)


def _shards(text: str) -> int | str:
    return "auto" if text == "auto" else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, nargs="*", default=[16, 64, 256, 512])
    parser.add_argument("--rates", type=float, nargs="*", default=[100.0, 400.0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--shards", type=_shards, default=1, help="processes, or auto")
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
    print(f"\n{verdicts.table()}\n")
    print(f"{verdicts.missed} limits missed" if verdicts.missed else "all limits kept")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
