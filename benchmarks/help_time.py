"""`llmatrix --help`, as a whole process: median and maximum of 20 runs.

`.venv/bin/python benchmarks/help_time.py`
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 0.3
RUNS = 20


def main() -> int:
    command = [str(Path(sys.executable).with_name("llmatrix")), "--help"]
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    print(f"llmatrix --help: median {median:.3f} s, maximum {max(seconds):.3f} s of {RUNS} runs")
    print(f"limit: {LIMIT_S} s: {'missed' if median > LIMIT_S else 'kept'}")
    return int(median > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
