"""kill -9 at random moments: the same set of trials as an undisturbed run, each whole, once."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from typing import Any

import pytest

from llmatrix.stacks.local_site import sites

Place = Any  # the fixture of conftest.py, which is no module that a test may import

pytestmark = pytest.mark.slow

MATRIX = {
    "stack.router.config": ["router/none.yaml", "router/queue.yaml"],
    "workload.output_len": [4, 5],
}
KILLS = 4


def torn(place: Place) -> list[str]:
    """Name every file of a record that is not as the record says."""
    found = []
    for trial, record in place.records().items():
        folder = place.folder / "results/small" / trial
        for name, file in record["files"].items():
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                found.append(f"{trial}/{name}")
    return found


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(place: Place) -> None:
    seed = int(os.environ.get("LLMATRIX_KILL_SEED", time.time_ns() % 1_000_000))
    print(f"LLMATRIX_KILL_SEED={seed}")  # noqa: T201 - shown when the test fails
    draw = random.Random(seed)  # noqa: S311 - moments, not secrets
    file = place.write(matrix=MATRIX)
    plan = place("plan", file, "--json").out
    started: dict[str, float] = {}
    killed = 0
    for _ in range(KILLS):
        run = place.start("run", file)
        # Moments are drawn in what the run says, not in seconds: they fall where it is busy.
        lines = draw.randint(3, 7)
        for _ in range(lines):
            if not run.stderr.readline():
                break
        wait_s = draw.uniform(0.0, 0.5)
        try:
            run.wait(wait_s)
        except subprocess.TimeoutExpired:
            run.kill()
            killed += 1
        run.communicate()
        now = {trial: record["started_at"] for trial, record in place.records().items()}
        assert started.items() <= now.items(), "a record was lost or its trial measured again"
        started = now
        assert torn(place) == []
    last = place("run", file)
    assert last.code == 0
    assert killed > 0
    records = place.records()
    assert started.items() <= {t: r["started_at"] for t, r in records.items()}.items()
    assert len(records) == 4
    assert all(f'"trial": "{trial}"' in plan for trial in records)
    assert torn(place) == []
    assert place.failures() == {}
    place.nothing_runs()
    assert list(sites()) == []
    leftovers = [p for p in (place.folder / "results").rglob("*") if p.name.startswith(".")]
    assert len(leftovers) <= killed  # a killed writer's part is swept after a minute


def test_a_killed_load_generator_is_tried_again(place: Place) -> None:
    workload = {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 20},
        "warmup": 0,
        "duration": "2s",
    }
    file = place.write(workload=workload, matrix=None)
    run = place.start("run", file)
    place.until(place.load_generators)
    (child,) = place.load_generators()
    os.kill(child, signal.SIGKILL)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "again in 1 s: the load generator ended with code -9 and said nothing" in err
    (record,) = place.records().values()
    assert [a["failure"] for a in record["attempts"]] == ["workload"]
    outcomes = {step["step"]: step["outcome"] for step in record["steps"]}
    assert (outcomes["server"], outcomes["workload"]) == ("unchanged", "applied")
    assert torn(place) == []
    place.nothing_runs()
