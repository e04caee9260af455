"""Questions to a large dataset: seconds, and bytes read where a query names few columns.

`.venv/bin/python benchmarks/dataset_scale.py [--trials 2000] [--requests 5000] [--keep FOLDER]`

Makes an experiment of so many trials, each with a `requests.parquet` of so many rows; the full
scale is `--trials 10000`, 50 million requests. A few different files of requests are linked into
all trials, so the disk holds little and everything is read from memory: what is measured is the
way of the data, not the disk. Each question is a process of its own, as a user's is; CPU seconds
are told beside the wall's, since other programs may share the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import parquet

from llmatrix.columns import REQUEST_COLUMNS, arrow_schema

LIMIT_S = 2.0
"""For a question to the trials alone, their records unchanged since the last: CPU seconds."""
DIFFERENT = 20
PROGRAM = str(Path(sys.executable).with_name("llmatrix"))
QUESTIONS = {
    "trials": (
        'SELECT "stack.router.config" AS router, avg(ttft_ms_p50) FROM trials WHERE valid '
        "GROUP BY router"
    ),
    "trials, again": (
        'SELECT "stack.router.config" AS router, max(ttft_ms_p50) FROM trials WHERE valid '
        "GROUP BY router"
    ),
    "one column of requests": "SELECT count(*), avg(ttft_ms) FROM requests WHERE phase = 'window'",
    "requests by level": (
        'SELECT "stack.router.config" AS router, quantile_cont(ttft_ms, 0.99) FROM requests JOIN '
        "trials USING (trial) WHERE valid AND phase = 'window' GROUP BY router"
    ),
    "one trial's requests": "SELECT count(*) FROM requests WHERE trial = '{trial}'",
}


@dataclass(frozen=True)
class Asked:
    """What one question took."""

    wall_s: float
    cpu_s: float
    read_mib: float


def main() -> int:
    wanted = argparse.ArgumentParser()
    wanted.add_argument("--trials", type=int, default=2000)
    wanted.add_argument("--requests", type=int, default=5000)
    wanted.add_argument("--keep", type=Path, help="make it here, or use what is here already")
    options = wanted.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="llmatrix-scale-"))
    experiment = folder / "scale"
    try:
        if not experiment.exists():
            make(experiment, options.trials, options.requests)
        return report(experiment)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def report(experiment: Path) -> int:
    trials = sorted(path.name for path in experiment.iterdir())
    stored = sum(path.stat().st_size for path in experiment.glob("*/requests.parquet"))
    print(f"{len(trials):,} trials, {stored / 2**20:,.0f} MiB of requests")
    print(f"{'question':<26}{'wall':>9}{'CPU':>9}{'read':>13}")
    late = False
    for name, sql in QUESTIONS.items():
        found = ask(sql.format(trial=trials[len(trials) // 2]), experiment)
        print(f"{name:<26}{found.wall_s:>7.2f} s{found.cpu_s:>7.2f} s{found.read_mib:>9,.0f} MiB")
        late |= name == "trials, again" and found.cpu_s > LIMIT_S * max(1.0, len(trials) / 10_000)
    if late:
        print(f"the question to the trials took more than {LIMIT_S} CPU seconds")
    return int(late)


def ask(sql: str, experiment: Path) -> Asked:
    """Ask one question in a process of its own."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [PROGRAM, "query", sql, str(experiment), "--csv"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read()
    # Bytes that its read calls asked for; the process is still there until it is waited for.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    io = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    if process.wait():
        raise SystemExit(f"the question was not answered: {sql}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Asked(time.perf_counter() - started, cpu, int(io["rchar"]) / 2**20)


def make(experiment: Path, trials: int, requests: int) -> None:
    """Write the experiment's records, and its requests as links to a few different files."""
    sources = experiment.with_name("sources")
    sources.mkdir(parents=True)
    for seed in range(DIFFERENT):
        parquet.write_table(rows(seed, requests), sources / f"{seed}.parquet", compression="zstd")
    for number, record in enumerate(records(trials)):
        source = sources / f"{number % DIFFERENT}.parquet"
        place = experiment / record["trial"]
        place.mkdir(parents=True)
        os.link(source, place / "requests.parquet")
        record["files"]["requests.parquet"]["bytes"] = source.stat().st_size
        (place / "record.json").write_bytes(orjson.dumps(record))


def rows(seed: int, count: int) -> pa.Table:
    random = np.random.default_rng(seed)
    scheduled = np.sort(random.uniform(0, 60, count))
    ttft = random.lognormal(np.log(50), 0.5, count)
    gaps = random.lognormal(np.log(10), 0.2, (count, 32)).astype("float32")
    columns: dict[str, Any] = {
        "request": np.arange(count),
        "phase": np.where(scheduled < 5, "warmup", "window"),
        "scheduled_s": scheduled,
        "sent_s": scheduled,
        "first_token_s": scheduled + ttft / 1e3,
        "last_token_s": scheduled + ttft / 1e3 + gaps.sum(axis=1) / 1e3,
        "end_s": scheduled + ttft / 1e3 + gaps.sum(axis=1) / 1e3,
        "ttft_ms": ttft,
        "ttft_from_send_ms": ttft,
        "tpot_ms": gaps.mean(axis=1),
        "e2e_ms": ttft + gaps.sum(axis=1),
        "itl_ms": list(gaps),
        "output_tokens": np.full(count, 33),
        "status": np.full(count, 200),
    }
    schema = arrow_schema(REQUEST_COLUMNS)
    arrays = [
        pa.array(columns[name], type=kind) if name in columns else pa.nulls(count, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def records(count: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(1)
    steps = ["namespace", "gateway", "router", "model", "server", "workload", "upload", "teardown"]
    names = [f"{name}_{s}" for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms") for s in "abcd"]
    metrics = [*names, "ttft_ms_p50", "output_tokens_per_s", "requests_per_s"]
    for number in range(count):
        levels = {
            "stack.router.config": ("none", "prefix", "kv", "queue")[number % 4],
            "workload.question_len": str(100 * (number // 4 % 50)),
            "workload.output_len": str(number // 200 % 10 + 1),
        }
        replicate = number // 2000
        trial = hashlib.sha256(repr((levels, replicate)).encode()).hexdigest()[:20]
        figures = random.lognormal(3, 1, len(metrics)).tolist()
        yield {
            "version": 1,
            "trial": trial,
            "experiment": "scale",
            "levels": levels,
            "replicate": {"deployment": 0, "workload": replicate},
            "document": {
                "model": {"name": "m"},
                "stack": {"kind": "simulated", "router": {"config": levels["stack.router.config"]}},
                "workload": {
                    "kind": "random",
                    "question_len": int(levels["workload.question_len"]),
                    "output_len": int(levels["workload.output_len"]),
                    "load": {"rate": 20.0},
                },
            },
            "versions": {"harness": "native-1", "stack": "simulated-1"},
            "keys": dict.fromkeys(steps, "0" * 64),
            "traffic_seed": number,
            "simulated": True,
            "accelerators": 4,
            "started_at": 1.7e9 + 20 * number,
            "ended_at": 1.7e9 + 20 * number + 17,
            "window_s": [5.0, 60.0],
            "steps": [
                {"step": step, "outcome": "unchanged", "seconds": 0.1, "key": "0" * 64}
                for step in steps
            ],
            "attempts": [],
            "metrics": dict(zip(metrics, figures, strict=True)),
            "checks": [
                {
                    "name": f"check_{i}",
                    "figure": 1.0,
                    "limit": "<= 5 ms",
                    "verdict": "pass",
                    "advice": "",
                }
                for i in range(14)
            ],
            "files": {"requests.parquet": {"bytes": 0, "sha256": "0" * 64}},
        }


if __name__ == "__main__":
    sys.exit(main())
