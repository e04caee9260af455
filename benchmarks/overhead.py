"""Measured windows / wall time of a 16-trial run on one deployment.

`.venv/bin/python benchmarks/overhead.py`
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.85
EXPERIMENT = """
name: overhead
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated, replicas: 2}
workload:
  kind: random
  question_len: 100
  output_len: 20
  load: {rate: 10}
  warmup: 1s
  duration: 20s
matrix:
  workload.output_len: [20, 30, 40, 50]
  workload.question_len: [100, 200, 300, 400]
results: {store: results/}
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "experiment.yaml"
        file.write_text(EXPERIMENT)
        started = time.perf_counter()
        subprocess.run(
            [str(Path(sys.executable).with_name("llmatrix")), "run", str(file)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LLMATRIX_STATE": f"{folder}/state"},
        )
        wall_s = time.perf_counter() - started
        records = [
            json.loads(path.read_bytes()) for path in Path(folder).glob("results/*/*/record.json")
        ]
    window_s = sum(record["window_s"][1] - record["window_s"][0] for record in records)
    steps: dict[str, float] = {}
    for record in records:
        for step in record["steps"]:
            steps[step["step"]] = steps.get(step["step"], 0.0) + step["seconds"]
    print(f"{len(records)} trials: {window_s:.1f} s measured of {wall_s:.1f} s wall time")
    for step, seconds in steps.items():
        print(f"  {step}: {seconds:.1f} s")
    ratio = window_s / wall_s
    kept = ratio >= LIMIT and len(records) == 16
    print(f"ratio {ratio:.3f}; limit {LIMIT}: {'kept' if kept else 'missed'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
