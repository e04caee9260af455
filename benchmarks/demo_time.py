"""Fresh clone -> `make demo` -> report: with set-up, then once more without.

`.venv/bin/python benchmarks/demo_time.py`
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMITS = {"with set-up": 180.0, "without set-up": 90.0}


def main() -> int:
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "llmatrix"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        env = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        env["LLMATRIX_STATE"] = f"{folder}/state"
        for name, limit in LIMITS.items():
            started = time.perf_counter()
            subprocess.run(["make", "demo"], cwd=clone, check=True, env=env)
            seconds = time.perf_counter() - started
            (report,) = clone.glob("examples/results/*/report.html")
            missed |= seconds > limit
            print(f"make demo {name}: {seconds:.0f} s (limit {limit:.0f} s), {report.name}")
            shutil.rmtree(report.parent)
    print("limits missed" if missed else "limits kept")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
