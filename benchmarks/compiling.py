"""Compile 10,000 trials to Tekton's objects: CPU seconds, PipelineRuns, the size of the largest.

`.venv/bin/python benchmarks/compiling.py`
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from llmatrix.cli.prepare import prepare
from llmatrix.engines.tekton.compile import compiled
from llmatrix.engines.tekton.settings import resolved

TRIALS, LIMIT_S, LIMIT_BYTES = 10_000, 10.0, 500_000
EXPERIMENT = """
name: compiling
model: {name: Qwen/Qwen3-8B}
stack: {kind: simulated}
workload: {kind: random, load: {concurrency: 8}, question_len: 10, output_len: 10}
matrix:
  stack.replicas: [1, 2, 3, 4]
  workload.question_len: QUESTIONS
  workload.output_len: OUTPUTS
""".replace("QUESTIONS", str(list(range(1, 51)))).replace("OUTPUTS", str(list(range(1, 51))))


def main() -> int:
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "experiment.yaml"
        file.write_text(EXPERIMENT)
        for shape in ("parallelism=1", "parallelism=4", "isolation=fresh"):
            started = time.process_time()
            plan = prepare(file, (f"run.{shape}",), ()).plan
            planned_s = time.process_time() - started
            settings = resolved(plan, namespace="bench", image="example.org/llmatrix:1")
            made = compiled(plan, settings, now=time.time())
            seconds = time.process_time() - started - planned_s
            runs = [run for lane in made.pipelineruns for run in lane]
            largest = max(len(json.dumps(run)) for run in runs)
            print(
                f"{shape}: {len(plan):,} trials planned in {planned_s:.1f} CPU s, compiled in "
                f"{seconds:.1f} to {len(runs)} PipelineRuns, the largest {largest:,} bytes"
            )
            missed |= len(plan) != TRIALS or seconds > LIMIT_S or largest > LIMIT_BYTES
    print(f"limits: {LIMIT_S:.0f} CPU s, {LIMIT_BYTES:,} bytes: {'missed' if missed else 'kept'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
