"""A load generator that is starved of its core: is its trial marked invalid, and the cause named?

`.venv/bin/python benchmarks/loadgen/starved.py [--rate RATE] [--seconds 10]`

A client that needs little is not starved by a neighbour: the kernel lets it in at once, and its
figures are true. So the rate is chosen, by a short run first, to need 0.7 of a core, of which the
busy loop leaves half.

The harness is pinned to one core (`sched_setaffinity`), which a busy loop shares; the server
(`truth_server.c`) has another. The trial is judged as any trial is. Prints every check that
failed, with its advice; ends with 1 if none did, or if none names the missing core. A second run,
on all cores and without the busy loop, shows the same figures where nothing starves the client.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.analysis.strain import Strain
from llmatrix.analysis.validity import Asked, Observed, judge
from truth import TTFT_MS, build, send, truth, window_of, workload

CAUSE = "had no core"
SHARE = 0.7
PROBED = 20.0


@contextmanager
def starved() -> Iterator[None]:
    """Share the last core that this process may use with a busy loop."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()
        os.sched_setaffinity(0, cores)


def needing(share: float, folder: Path) -> float:
    """Find the rate, in requests per second, at which the client needs this share of a core."""
    with truth(folder) as server:
        asked = workload({"rate": PROBED, "arrivals": "constant"}, 3.0, shards=1)
        (sender,) = send(folder, server, asked).senders
    assert sender.cpu
    return round(PROBED * share / sender.cpu)


def checks_of(folder: Path, rate: float, seconds: float, *, starve: bool) -> list[Check]:
    """Send one workload and judge it."""
    asked = workload({"rate": rate, "arrivals": "constant"}, seconds, shards=1)
    with truth(folder) as server:
        if starve:
            with starved():
                measurement = send(folder, server, asked)
        else:
            measurement = send(folder, server, asked)
    (sender,) = measurement.senders
    ttft = window_of(folder)["ttft_ms"].to_numpy()
    print(
        f"{'starved' if starve else 'free':8s} TTFT p50 {np.nanquantile(ttft, 0.5):6.2f}"
        f" p99 {np.nanquantile(ttft, 0.99):6.2f} ms (truth {TTFT_MS:g}), waited for a core"
        f" {sender.cpu_wait or 0.0:.0%} of the window, used {sender.cpu or 0.0:.0%},"
        f" loop lag p99 {sender.loop_lag_ms_p99 or 0.0:.2f} ms"
        f" (server late: first p99 {server.own['first_ms_p99']:.2f} ms)"
    )
    return judge(
        pq.read_table(folder / "requests.parquet"),
        window_s=measurement.window_s,
        asked=Asked(rate=rate, arrivals="constant"),
        observed=Observed(
            loop_lag_ms_p99=measurement.loop_lag_ms_p99,
            strain=Strain(
                cpu=sender.cpu,
                cpu_wait=sender.cpu_wait,
                steal=sender.steal,
                throttled=sender.throttled,
                cores=sender.cores,
            ),
            connections_opened=measurement.connections_opened,
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, help="default: what needs 0.7 of a core")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    found: dict[bool, list[Check]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        rate = args.rate or needing(SHARE, folder)
        print(f"{rate:g} requests/s")
        for starve in (False, True):
            checks = checks_of(folder, rate, args.seconds, starve=starve)
            found[starve] = [check for check in checks if check.verdict is Verdict.FAIL]
            for check in found[starve]:
                print(f"  failed: {check.name} {check.figure:.3g} ({check.limit}): {check.advice}")
            if not found[starve]:
                print("  every check passed")
    if any(CAUSE in check.advice for check in found[False]):
        print("the free run had no core either: this machine is too busy to tell the two apart")
    named = any(CAUSE in check.advice for check in found[True])
    verdict = "kept" if named else "missed"
    print(f"  starved trial invalid, cause named: limit yes: {verdict}")
    print("the starved trial is invalid and says why" if named else "the cause was not named")
    return 0 if named else 1


if __name__ == "__main__":
    sys.exit(main())
