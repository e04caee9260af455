"""kill -9 at 30 random moments of a run, run again each time; compare with an undisturbed run.

Shown: the same set of trials, each record whole and written once it is there, no process left.

`.venv/bin/python benchmarks/kill_resume.py [KILLS] [SEED]`
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXPERIMENT = """
name: kill
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated, replicas: 2}
workload:
  kind: shared-prefix
  groups: 4
  prefix_len: 64
  question_len: 16
  output_len: 8
  load: {rate: 30}
  warmup: 200ms
  duration: 1s
matrix:
  stack.router.config: [router/none.yaml, router/queue.yaml]
  stack.engine.max_num_seqs: [16, 32]
  workload.question_len: [16, 32]
replicates: 2
results: {store: results/}
"""
PICKERS = Path(__file__).parents[1] / "examples/router"
LLMATRIX = str(Path(sys.executable).with_name("llmatrix"))
REQUIRED = {"trial", "metrics", "checks", "steps", "window_s", "files"}


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "router").symlink_to(PICKERS)
        (place / "experiment.yaml").write_text(EXPERIMENT)
        calm, calm_s = undisturbed(place)
        print(f"undisturbed: {len(calm)} trials in {calm_s:.1f} s; seed {seed}")
        problems = disturbed(place, draw, kills, calm, calm_s)
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{kills} kills: {'as an undisturbed run' if not problems else 'NOT as it should be'}")
    return int(bool(problems))


def undisturbed(place: Path) -> tuple[set[str], float]:
    started = time.perf_counter()
    subprocess.run(command(place, "calm"), check=True, env=environment(place), capture_output=True)
    return set(records(place, "calm")), time.perf_counter() - started


def disturbed(
    place: Path, draw: random.Random, kills: int, calm: set[str], calm_s: float
) -> list[str]:
    problems: list[str] = []
    store, killed, round_ = "store-0", 0, 0
    kept: dict[str, float] = {}
    while killed < kills:
        run = subprocess.Popen(
            command(place, store),
            env=environment(place),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait(draw.uniform(0.0, calm_s * 0.6))
            round_ += 1
            problems += judge(place, store, calm)
            store, kept = f"store-{round_}", {}
            continue
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            killed += 1
        now = times(place, store)
        problems += [f"{t} was lost" for t in kept if t not in now]
        problems += [f"{t} was measured twice" for t, at in kept.items() if now.get(t, at) != at]
        kept = now
    subprocess.run(command(place, store), check=True, env=environment(place), capture_output=True)
    now = times(place, store)
    problems += [f"{t} was measured twice" for t, at in kept.items() if now.get(t, at) != at]
    return problems + judge(place, store, calm) + left(place)


def judge(place: Path, store: str, calm: set[str]) -> list[str]:
    found = records(place, store)
    problems = [f"{store}: {sorted(set(found) ^ calm)} differ"] if set(found) != calm else []
    for trial, record in found.items():
        folder = place / store / "kill" / trial
        if not record.keys() >= REQUIRED:
            problems.append(f"{trial}: torn record")
        problems += [
            f"{trial}: torn {name}"
            for name, file in record["files"].items()
            if (folder / name).stat().st_size != file["bytes"]
        ]
    return problems


def left(place: Path) -> list[str]:
    """Name every process that still carries this benchmark's state folder in its environment."""
    marker = f"LLMATRIX_STATE={place}/state".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (process / "environ").read_bytes().split(b"\0"):
                found.append(f"process {process.name} is left")
        except OSError:
            continue
    return found


def command(place: Path, store: str) -> list[str]:
    file, chosen = str(place / "experiment.yaml"), f"results.store={place}/{store}"
    return [LLMATRIX, "run", file, "--set", chosen]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "LLMATRIX_STATE": f"{place}/state"}


def records(place: Path, store: str) -> dict[str, dict[str, Any]]:
    found = (place / store).glob("kill/*/record.json")
    return {path.parent.name: json.loads(path.read_bytes()) for path in found}


def times(place: Path, store: str) -> dict[str, float]:
    return {t: r["started_at"] for t, r in records(place, store).items()}


if __name__ == "__main__":
    sys.exit(main())
