"""Questions to a large dataset: seconds, and bytes read where a query names few columns.

`.venv/bin/python -m benchmarks.dataset_scale [--trials 2000] [--requests 5000] [--keep FOLDER]
[--program OTHER/llmatrix]`

Makes an experiment of so many trials, each with a `requests.parquet` of so many rows; the full
scale is `--trials 10000`, 50 million requests. A few different files of requests are linked into
all trials, so the disk holds little and everything is read from memory: what is measured is the
way of the data, not the disk. Records are as large as those of `examples/quickstart.yaml`, and
1,000 treatments have their share of them. Each question is a process of its own, as a
user's is; nothing is remembered before the first. CPU seconds are told beside the wall's, since
other programs may share the machine. `--program` asks each question of another llmatrix too, one
after the other, so that two versions are compared at the same time.
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
import pyarrow as pa
from pyarrow import parquet

from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import Manifest, PlannedTrials, write_manifest
from llmatrix.results.record import Record
from tools.request_tables import request_table

LIMIT_S = 2.0
"""For a question to 10,000 trials alone, remembered or not: CPU seconds."""
DIFFERENT = 20
PROGRAM = str(Path(sys.executable).with_name("llmatrix"))
LIMITED = ("trials", "trials, again")
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
    wanted.add_argument("--program", help="ask this llmatrix too")
    options = wanted.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="llmatrix-scale-"))
    experiment = folder / "scale"
    try:
        if not experiment.exists():
            make(experiment, options.trials, options.requests)
        return report(experiment, [*filter(None, [options.program]), PROGRAM])
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


def report(experiment: Path, programs: list[str]) -> int:
    trials = sorted(path.parent.name for path in experiment.glob("*/record.json"))
    stored = sum(path.stat().st_size for path in experiment.glob("*/requests.parquet"))
    print(f"{len(trials):,} trials, {stored / 2**20:,.0f} MiB of requests")
    print(f"{'question':<26}{'wall':>9}{'CPU':>9}{'read':>13}")
    late = False
    with tempfile.TemporaryDirectory() as memory:
        for name, sql in QUESTIONS.items():
            asked = sql.format(trial=trials[len(trials) // 2])
            for number, program in enumerate(programs):
                found = ask(program, asked, experiment, Path(memory) / str(number))
                figures = f"{found.wall_s:>7.2f} s{found.cpu_s:>7.2f} s{found.read_mib:>9,.0f} MiB"
                print(f"{name:<26}{figures}{f'  {program}' * (len(programs) > 1)}", flush=True)
                limit = LIMIT_S * max(1.0, len(trials) / 10_000)
                late |= program == PROGRAM and name in LIMITED and found.cpu_s > limit
    if late:
        print(f"a question to the trials took more than {LIMIT_S} CPU seconds")
    return int(late)


def ask(program: str, sql: str, experiment: Path, memory: Path) -> Asked:
    """Ask one question in a process of its own."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [program, "query", sql, str(experiment), "--csv"],
        stdout=subprocess.PIPE,
        env=os.environ | {"LLMATRIX_CACHE": str(memory)},
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
        written = Record.model_validate(record).model_dump_json(indent=1)
        (place / "record.json").write_text(written)
    names = [path.name for path in experiment.iterdir()]
    manifest = Manifest(name=experiment.name, plan=PlannedTrials(trials=names))
    write_manifest(FolderStore(experiment.parent), manifest)


def rows(seed: int, count: int) -> pa.Table:
    random = np.random.default_rng(seed)
    scheduled = np.sort(random.uniform(0, 60, count))
    ttft = random.lognormal(np.log(50), 0.5, count)
    gaps = random.lognormal(np.log(10), 0.2, (count, 32)).astype("float32")
    return request_table(scheduled, ttft, gaps, window_from_s=5.0)


def records(count: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(1)
    steps = ["namespace", "gateway", "router", "model", "server", "workload", "upload", "teardown"]
    names = [
        f"{name}_{s}" for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms") for s in "abcdefg"
    ]
    metrics = [*names, "ttft_ms_p50", "output_tokens_per_s"]
    for number in range(count):
        levels = {
            "stack.router.config": ("none", "prefix", "kv", "queue")[number % 4],
            "workload.question_len": str(100 * (number // 4 % 50)),
            "workload.output_len": str(number // 200 % 5 + 1),
        }
        replicate = number // 1000
        trial = hashlib.sha256(repr((levels, replicate)).encode()).hexdigest()[:20]
        figures = random.lognormal(3, 1, len(metrics)).tolist()
        yield {
            "version": 1,
            "trial": trial,
            "experiment": "scale",
            "levels": levels,
            "replicate": {"deployment": 0, "workload": replicate},
            "document": document(levels),
            "versions": {"harness": "native/1", "stack": "simulated/1"},
            "keys": dict.fromkeys(steps, trial),
            "traffic_seed": number,
            "simulated": True,
            "accelerators": 4,
            "started_at": 1.7e9 + 20 * number,
            "ended_at": 1.7e9 + 20 * number + 17,
            "window_s": [5.0, 60.0],
            "steps": [
                {"step": step, "outcome": "unchanged", "seconds": random.uniform(), "key": trial}
                for step in steps
            ],
            "metrics": dict(zip(metrics, figures, strict=True)),
            "withheld": {f"{m}_p99": "331 samples, and a p99 needs 662" for m in names[:5]},
            "checks": [
                {"name": f"check_{i}", "figure": figures[i], "limit": "<= 5 ms", "verdict": "pass"}
                for i in range(14)
            ],
            "host": {"system": "Linux", "machine": "x86_64", "cpu": "AMD EPYC", "cpus": 2},
            "files": {
                name: {"bytes": 0, "sha256": "0" * 64}
                for name in ("requests.parquet", "server.parquet", "logs/1", "logs/2", "logs/3")
            },
        }


def document(levels: dict[str, str]) -> dict[str, Any]:
    """Give what a simulated trial's document holds, a picker's configuration of its length."""
    plugins = "".join(f"- type: {levels['stack.router.config']}-scorer-{i}\n" for i in range(16))
    return {
        "model": {"name": "Qwen/Qwen3-8B", "vocab_size": 32000, "tokenizer": None},
        "stack": {
            "kind": "simulated",
            "replicas": 4,
            "engine": {f"engine_flag_{i}": 8192 for i in range(10)},
            "router": {"config": {"text": f"kind: EndpointPickerConfig\nplugins:\n{plugins}"}},
        },
        "workload": {
            "kind": "random",
            "question_len": int(levels["workload.question_len"]),
            "output_len": int(levels["workload.output_len"]),
            "load": {"rate": 20.0},
            **{f"setting_{i}": 60.0 for i in range(8)},
        },
    }


if __name__ == "__main__":
    sys.exit(main())
