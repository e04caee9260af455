"""How many tokens a second the simulator serves on one core, and how true their times are.

A simulated server on one core streams to a C client (``sim_client.c``) on another: a closed loop,
every prompt new. Told are the tokens per second that the model of latency asks for, and those that
were served; how late the last token of each step was sent, as the server tells of itself; gaps
between tokens as the client saw them, against those that the virtual clock gives; and CPU time per
token, which a busy machine changes little, with what a core could serve by it. Each figure is the
median of the repetitions. Ends with 1 if fewer than 25,000 tokens/s were served, or 1% of the steps
were more than 2 ms late: a statement about a quiet machine with a core for each of the two.

Run: ``.venv/bin/python benchmarks/sim_throughput.py [--streams 128] [--seconds 5]
[--repetitions 3] [--router]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from llmatrix.sim.latency import kv_capacity, step_time
from llmatrix.sim.presets import accelerator, model
from llmatrix.sim.scheduler import Engine, Limits, Sequence, Step
from llmatrix.sim.virtual import closed_loop

TOKENS_LIMIT, LATENESS_LIMIT_MS = 25_000.0, 2.0
MODEL, CARD, PROMPT, ANSWER = "Qwen/Qwen3-0.6B", "H100", 64, 128
WARMUP_S = 2.0
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """What one run showed; times in ms, CPU time in µs per token."""

    per_second: float
    late_p50: float
    late_p99: float
    itl_p50: float
    itl_p99: float
    cpu_us: float


def asked(streams: int) -> tuple[float, float, float]:
    """Give tokens/s, and ITL p50 and p99 in ms, that the model of latency asks for."""
    card, served = accelerator(CARD), model(MODEL)
    engine = Engine(
        Limits(max_num_seqs=streams), step_time(card, served, 1), kv_capacity(card, served, 1)
    )
    prompts = (Sequence(array("q", [word]) * PROMPT, ANSWER, 0, 0.0) for word in range(8 * streams))
    ends: dict[int, float] = {}
    told: list[tuple[float, float]] = []

    def watch(step: Step, _begin: float, end: float) -> None:
        for sequence, _ in step.work:
            if sequence.generated:
                told.append((end, end - ends[id(sequence)]))
            ends[id(sequence)] = end

    answers = closed_loop(engine, prompts, streams, watch=watch, ramp=WARMUP_S / 2)
    # In the middle half of the answers all streams are under way.
    begin, end = answers[2 * streams].end, answers[6 * streams].end
    gaps = sorted(gap for at, gap in told if begin <= at < end)
    middle, high = gaps[len(gaps) // 2], gaps[int(0.99 * len(gaps))]
    return 4 * streams * ANSWER / (end - begin), middle * 1e3, high * 1e3


@contextmanager
def serving(streams: int, *, router: bool) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """Start a server on one core; give its process and what it announced."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "announced.json"
        command = [sys.executable, "-m", "llmatrix.sim", "serve", "--model", MODEL]
        command += ["--accelerator", CARD, "--max-num-seqs", str(streams)]
        command += ["--announce", str(file)]
        command += ["--router-config", "none"] if router else []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            pin(process.pid, 0)
            while not file.exists():
                time.sleep(0.02)
            try:
                yield process, json.loads(file.read_bytes())
            finally:
                process.terminate()


def pin(process: int, number: int) -> None:
    """Keep a process on one of the cores that this one may use."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process, {cores[number % len(cores)]})


def cpu_s(process: int) -> float:
    """Give the CPU time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lateness(url: str) -> dict[float, float]:
    """Read how many steps ended at most so many seconds late, by the bucket's bound."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "llmatrix_sim_step_lateness_seconds_bucket"
    }


def quantile_ms(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Give the bucket bound below which a share of the steps of a window were late, in ms."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    most = max(counts.values())
    return 1e3 * min(bound for bound, count in counts.items() if count >= share * most)


def run(client: Path, streams: int, seconds: float, *, router: bool) -> Run:
    """Serve for a while and tell what it was like."""
    with serving(streams, router=router) as (server, announced):
        url = announced["servers"][0]
        port = (announced["router"] if router else url).rpartition(":")[2]
        command = [str(client), port, str(streams), str(WARMUP_S), str(seconds)]
        command += [str(PROMPT), str(ANSWER), MODEL]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as measuring:
            pin(measuring.pid, 1)
            time.sleep(WARMUP_S)
            before, cpu_before, since = lateness(url), cpu_s(server.pid), time.monotonic()
            told, _ = measuring.communicate(timeout=120)
            cpu, took = cpu_s(server.pid) - cpu_before, time.monotonic() - since
        after = lateness(url)
    said = json.loads(told)
    per_second = said["tokens"] / seconds
    return Run(
        per_second,
        quantile_ms(before, after, 0.5),
        quantile_ms(before, after, 0.99),
        said["itl_ms_p50"],
        said["itl_ms_p99"],
        1e6 * cpu / took / per_second,
    )


def main() -> int:
    """Measure and print; tell whether the limits are met."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--streams", type=int, default=128)
    arguments.add_argument("--seconds", type=float, default=5.0)
    arguments.add_argument("--repetitions", type=int, default=3)
    arguments.add_argument("--router", action="store_true")
    given = arguments.parse_args()
    wanted, itl_p50, itl_p99 = asked(given.streams)
    with tempfile.TemporaryDirectory() as folder:
        client = Path(folder) / "sim_client"
        source = HERE / "sim_client.c"
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", client, source], check=True)
        runs = [
            run(client, given.streams, given.seconds, router=given.router)
            for _ in range(given.repetitions)
        ]
    found = Run(*(statistics.median(values) for values in zip(*map(astuple, runs), strict=True)))
    print(
        f"{given.streams} streams{' through the router' if given.router else ''}; load average "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    )
    print(f"tokens/s: {found.per_second:,.0f} of {wanted:,.0f} that the model asks for")
    print(f"steps late by: p50 ≤ {found.late_p50:g} ms, p99 ≤ {found.late_p99:g} ms")
    print(
        f"ITL at the client: p50 {found.itl_p50:.2f} ms (model {itl_p50:.2f}), "
        f"p99 {found.itl_p99:.2f} ms (model {itl_p99:.2f})"
    )
    print(
        f"CPU: {found.cpu_us:.1f} µs per token, hence at most {1e6 / found.cpu_us:,.0f} tokens/s "
        "on one core"
    )
    return int(found.per_second < TOKENS_LIMIT or found.late_p99 > LATENESS_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
