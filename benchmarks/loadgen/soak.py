"""A long run at a steady rate: does the load generator's memory stay flat, is any request lost?

`.venv/bin/python benchmarks/loadgen/soak.py [--minutes 60] [--rate 200] [--shards auto]`

Constant arrivals against the server of known latencies (`truth_server.c`). The resident memory of
the sending processes is read every second; growth is the largest after the settling time (5
minutes, or a third of a shorter run) over the largest before. No request may be lost: request
numbers have no gap, every one of the window was answered, and the server counts the answers that
the rows say. Ends with 1 if memory grew by more than 5% or a request was lost.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llmatrix.harness.protocol import Progress
from truth import WARMUP_S, build, send, truth, workload

GROWTH = 0.05
SETTLED_S = 300.0


def senders() -> list[int]:
    """Find the sending processes that this one has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == os.getpid() and b"native.child" in command:
            found.append(int(entry.name))
    return found


def resident(process: int) -> int:
    """Read the bytes that a process has in memory; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watch:
    """Samples of resident memory of all senders together, and the last that the harness told."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    last: Progress | None = None

    def run(self) -> None:
        begun, told = time.monotonic(), 0.0
        while not self.over.wait(1.0):
            elapsed = time.monotonic() - begun
            if self.last is None or self.last.phase == "drain":
                continue
            self.samples.append((self.last.elapsed_s, sum(map(resident, senders()))))
            if elapsed - told >= 60.0:
                told = elapsed
                memory = self.samples[-1][1] / 1e6
                print(f"  {self.last.elapsed_s:6.0f} s {memory:7.1f} MB {self.last}", flush=True)

    def told(self, progress: Progress) -> None:
        self.last = progress

    def growth(self, seconds: float) -> tuple[float, float]:
        """Give the largest memory before and after the settling time, in MB."""
        settled = min(SETTLED_S, seconds / 3)
        early = [size for at, size in self.samples if at <= settled]
        late = [size for at, size in self.samples if at > settled]
        return max(early) / 1e6, max(late) / 1e6


def lost(folder: Path, ended: int) -> list[str]:
    """Hold the rows against what the server saw; say what is wrong."""
    columns = ["request", "phase", "sent_s", "error", "error_detail"]
    rows = pq.read_table(folder / "requests.parquet", columns=columns)
    numbers = rows["request"].to_numpy()
    answered = rows["error"].null_count
    window = rows.filter(pc.equal(rows["phase"], "window"))
    failed = window.filter(pc.is_valid(window["error"]))
    sent = rows.num_rows - rows["sent_s"].null_count
    print(
        f"{rows.num_rows:,} requests, {sent:,} sent, {answered:,} answered, {window.num_rows:,} in"
        f" the window, {failed.num_rows} of these failed; the server answered {ended:,}"
    )
    wrong = []
    if not np.array_equal(np.sort(numbers), np.arange(rows.num_rows)):
        wrong.append("request numbers have a gap or come twice")
    if failed.num_rows:
        wrong.append(f"{failed.num_rows} failed: {failed['error_detail'][0]}")
    # What the end of the run cuts off was sent and may have been answered unheard.
    if not answered <= ended <= sent:
        wrong.append("the server counts other requests than the rows")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--shards", default="auto")
    args = parser.parse_args()
    shards = args.shards if args.shards == "auto" else int(args.shards)
    seconds = args.minutes * 60
    load: dict[str, object] = {"rate": args.rate, "arrivals": "constant"}
    watch = Watch()
    watcher = threading.Thread(target=watch.run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        with truth(folder) as server:
            watcher.start()
            try:
                measurement = send(
                    folder, server, workload(load, seconds, shards=shards), watch.told
                )
            finally:
                watch.over.set()
                watcher.join()
        wrong = lost(folder, server.ended.size)
    before, after = watch.growth(seconds + WARMUP_S)
    settled = min(SETTLED_S, seconds / 3)
    print(
        f"memory of {len(measurement.senders)} sending process(es): at most {before:.1f} MB in the"
        f" first {settled:.0f} s, {after:.1f} MB after: {after / before - 1:+.1%}"
    )
    kept, lost_none = after <= before * (1 + GROWTH), not wrong
    for what, figure, limit, good in (
        ("growth", f"{after / before - 1:+.1%}", f"<= {GROWTH:.0%}", kept),
        ("no request lost or failed", str(lost_none).lower(), "true", lost_none),
    ):
        print(f"  {what}: {figure}; limit {limit}: {'kept' if good else 'missed'}")
    if not kept:
        wrong.append(f"memory grew by more than {GROWTH:.0%}")
    print("; ".join(wrong) or "memory is flat and no request is lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
