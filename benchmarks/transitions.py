"""4 picker configs x 2 x 2: how often servers are started and the router is reconfigured.

Counted from the records of a real run, not from the plan.

`.venv/bin/python benchmarks/transitions.py`
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples/quickstart.yaml"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                str(Path(sys.executable).with_name("llmatrix")),
                *("run", str(EXAMPLE)),
                *("--set", f"results.store={folder}/results"),
                *("--set", "workload.duration=1s"),
                *("--set", "workload.load.rate=10"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LLMATRIX_STATE": f"{folder}/state"},
        )
        records = [json.loads(p.read_bytes()) for p in Path(folder).glob("results/*/*/record.json")]
    applied = Counter(
        step["step"]
        for record in records
        for step in record["steps"]
        if step["outcome"] == "applied"
    )
    print(f"{len(records)} trials; applied: {dict(applied)}")
    kept = len(records) == 16 and applied["server"] == 1 and applied["router"] <= 4
    print(f"limits: server 1, router 4: {'kept' if kept else 'missed'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
