"""Plan 1,000,000 treatments: seconds and peak memory, for two shapes of matrix.

`.venv/bin/python benchmarks/planning.py`
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S, LIMIT_MIB = 20.0, 2048.0

BASE = """
name: planning
model: {name: Qwen/Qwen3-8B}
stack: {kind: simulated}
workload: {kind: random, load: {concurrency: 8}, question_len: 10, output_len: 10}
matrix:
"""
SHAPES = {
    "stack 1,000 x workload 1,000": {
        "stack.replicas": range(1, 101),
        "stack.engine.max_num_seqs": range(1, 11),
        "workload.question_len": range(1, 101),
        "workload.output_len": range(1, 11),
    },
    "workload 1,000,000": {
        "workload.question_len": range(1, 1001),
        "workload.output_len": range(1, 1001),
    },
}


def main() -> int:
    if len(sys.argv) > 1:
        return plan(Path(sys.argv[1]))
    missed = False
    for name, factors in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "experiment.yaml"
            lines = [f"  {path}: {list(levels)}\n" for path, levels in factors.items()]
            file.write_text(BASE + "".join(lines))
            output = subprocess.run(
                [sys.executable, __file__, str(file)], check=True, capture_output=True, text=True
            ).stdout
        trials, seconds, mebibytes = (float(figure) for figure in output.split())
        print(f"{name}: {trials:,.0f} treatments, {seconds:.1f} s, peak {mebibytes:,.0f} MiB")
        missed |= trials != 1_000_000 or seconds > LIMIT_S or mebibytes > LIMIT_MIB
    print(f"limits: {LIMIT_S:.0f} s, {LIMIT_MIB:,.0f} MiB: {'missed' if missed else 'kept'}")
    return int(missed)


def plan(file: Path) -> int:
    """Plan one file in this process, and print treatments, seconds and peak MiB."""
    started = time.perf_counter()
    from llmatrix.cli.prepare import prepare  # noqa: PLC0415 - its import is part of the time

    planned = prepare(file, (), ()).plan
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(planned.treatments, seconds, peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
