"""Load generators against one server of known latencies, one after another: rate, TTFT, CPU.

`.venv/bin/python benchmarks/loadgen/compare.py [--streams 64 256] [--seconds 10]
[--only C llmatrix vllm-bench inference-perf aiperf guidellm] [--torch]`

Each drives a closed loop of `--streams` streams (prompts of 100 tokens, answers of 100) against
`truth_server.c` (TTFT 50 ms, ITL 10 ms), which counts the answers: the rate is that of the server,
in the same part of each run, after a warm-up of twice one answer. TTFT is what the program itself
reports of the requests that it sent then; CPU is that of all its processes meanwhile, its start
left out. Prints a Markdown table.

`vllm-bench` is no foreign program but its algorithm, written anew (`aiohttp_client.py`): one task
for each stream, an aiohttp session, the chunks of `iter_any` split at blank lines, `perf_counter`
at each. The others are installed from PyPI, each into an environment of its own under
`~/.cache/llmatrix/loadgen` (`LLMATRIX_BENCH_CACHE` for elsewhere); what cannot be installed or run
is left out, with the reason. guidellm needs torch, 5.6 GB of packages: it is left out without
`--torch`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from foreign import (
    Environment,
    Told,
    Unable,
    aiohttp_bench,
    aiperf,
    environment,
    guidellm,
    inference_perf,
)
from processes import Sampler
from truth import TTFT_MS, WARMUP_S, Truth, build, epoll, native, truth

ORDER: Final = ("C", "llmatrix", "vllm-bench", "inference-perf", "aiperf", "guidellm")


@dataclass(frozen=True)
class Client:
    """A program from PyPI, or written here for an environment of its own."""

    packages: tuple[str, ...]
    run: Callable[[Environment, Truth, Path, int, float], Told]
    newest_python: bool = False
    heavy: bool = False


CLIENTS: Final[dict[str, Client]] = {
    "vllm-bench": Client(("aiohttp==3.13.*",), aiohttp_bench),
    "inference-perf": Client(("inference-perf==0.7.0",), inference_perf, newest_python=True),
    "aiperf": Client(("aiperf==0.13.0",), aiperf, newest_python=True),
    "guidellm": Client(("guidellm==0.8.1",), guidellm, heavy=True),
}


@dataclass(frozen=True)
class Row:
    """What one program showed at one number of streams; times in ms."""

    name: str
    per_second: float
    ttft_p50: float
    ttft_p99: float
    cpu_per_1000: float


def own(name: str, folder: Path, streams: int, seconds: float) -> Row:
    """Run the bare client, or llmatrix, over as many processes as it chooses itself."""
    if name == "C":
        run = epoll(folder, streams, seconds)
    else:
        run = native(folder, {"concurrency": streams}, seconds, "auto")
    return Row(name, run.per_second, run.ttft_p50, run.ttft_p99, run.cpu_per_1000)


def foreign(name: str, folder: Path, streams: int, seconds: float) -> Row:
    """Run a client of an environment of its own.

    Raises:
        Unable: it cannot be installed, or it failed.
    """
    client = CLIENTS[name]
    place = environment(name, client.packages, newest=client.newest_python)
    with truth(folder) as server, Sampler() as sampler:
        told = client.run(place, server, folder, streams, seconds)
    if not server.arrived.size:
        raise Unable("the server saw no request of it")
    start = server.zero + WARMUP_S
    answered = server.per_second(seconds) * seconds
    window = (told.sent >= start) & (told.sent < start + seconds)
    ttft = told.ttft_ms[window] if window.any() else told.ttft_ms
    if not answered or not ttft.size:
        raise Unable("it answered nothing within the window; give it more --seconds")
    cpu = sampler.between(start, start + seconds)
    return Row(
        name,
        answered / seconds,
        float(np.quantile(ttft, 0.5)),
        float(np.quantile(ttft, 0.99)),
        cpu / answered * 1e3,
    )


def table(rows: Sequence[Row], streams: int) -> str:
    """Write what was found at one number of streams."""
    lines = [
        f"| {streams} streams | requests/s | of the C client's | TTFT p50, off by | "
        "TTFT p99, off by | CPU s per 1,000 |",
        "|---|---|---|---|---|---|",
    ]
    limit = next((row.per_second for row in rows if row.name == "C"), float("nan"))
    lines += [
        f"| {row.name} | {row.per_second:.1f} | {row.per_second / limit:.0%} | "
        f"{row.ttft_p50 - TTFT_MS:+.1f} ms | {row.ttft_p99 - TTFT_MS:+.1f} ms | "
        f"{row.cpu_per_1000:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", nargs="*", choices=ORDER, default=list(ORDER))
    parser.add_argument("--torch", action="store_true", help="install guidellm, torch and all")
    args = parser.parse_args()
    left_out: dict[str, str] = {}
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    for streams in args.streams:
        rows = []
        for name in (name for name in ORDER if name in args.only and name not in left_out):
            if name in CLIENTS and CLIENTS[name].heavy and not args.torch:
                left_out[name] = "it needs torch, 5.6 GB of packages; add --torch"
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                build(folder)
                run = foreign if name in CLIENTS else own
                try:
                    rows.append(run(name, folder, streams, args.seconds))
                except Unable as error:
                    left_out[name] = str(error)
                    continue
                print(f"  {rows[-1]}", file=sys.stderr, flush=True)
        print(f"\n{table(rows, streams)}\n", flush=True)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    print(f"load average after: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
