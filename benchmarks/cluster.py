"""The Tekton engine on a real cluster: overhead, lanes side by side, a matrix, 1,000 trials.

Needs ``KUBECONFIG``, ``LLMATRIX_IMAGE`` and a namespace that it may use:

    .venv/bin/python benchmarks/cluster.py --namespace bench
        [quickstart overhead lanes matrix thousand] [--seconds 60]

Each part makes its experiment, runs it through the command line, and tells what it took; nothing
may stand afterwards. ``thousand`` submits 1,000 trials, cancels them when 20 have ended, and runs
them again until a few more have ended, to see that those 20 are not measured twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    LEASE,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    PIPELINE_RUN,
    POD,
    STEP_ACTION,
    TASK,
    TASK_RUN,
)
from llmatrix.engines.tekton.sites import find_sites

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAM = Path(sys.executable).with_name("llmatrix")


def document(name: str, duration: str, matrix: dict[str, Any], **run: Any) -> dict[str, Any]:
    return {
        "name": name,
        "model": {"name": "Qwen/Qwen3-0.6B"},
        "stack": {"kind": "simulated"},
        "workload": {
            "kind": "random",
            "question_len": 20,
            "output_len": 5,
            "load": {"rate": 5},
            "warmup": 0,
            "duration": duration,
        },
        "matrix": matrix,
        "run": {"engine": "tekton", **run},
    }


def run(home: str, file: Path, folder: Path) -> tuple[float, list[dict[str, Any]]]:
    """Run an experiment; give the seconds it took and its records."""
    began = time.monotonic()
    store = folder / "results"
    settings = [f"run.cluster.namespace={home}", f"results.store={store}"]
    words = [word for each in settings for word in ("--set", each)]
    subprocess.run([PROGRAM, "run", file, "--engine", "tekton", *words], check=False)
    seconds = time.monotonic() - began
    records = [json.loads(path.read_bytes()) for path in store.glob("*/*/record.json")]
    return seconds, records


def left(cluster: Cluster, home: str) -> int:
    """Count what llmatrix made and left."""
    ours: dict[str, str | None] = {labels.MANAGED_BY: labels.OURS, labels.EXPERIMENT: None}
    kinds = (PIPELINE_RUN, TASK_RUN, TASK, STEP_ACTION, POD, CONFIG_MAP, LEASE)
    count = sum(len(cluster.find(kind, home, ours)) for kind in (*kinds, PERSISTENT_VOLUME_CLAIM))
    count += sum(
        each["metadata"]["labels"].get(labels.HOME) == home
        for each in cluster.find(NAMESPACE, None, ours)
    )
    return int(count) + len(find_sites(cluster, home, {}).sites)


def overheads(cluster: Cluster, home: str, stop: list[bool], seen: dict[str, float]) -> None:
    """Keep the seconds of every TaskRun of a trial while the run goes on."""
    while not stop:
        for each in cluster.find(TASK_RUN, home, {labels.TRIAL: None}):
            status = each.get("status", {})
            if "completionTime" in status:
                begun, ended = (
                    time.mktime(time.strptime(status[at], "%Y-%m-%dT%H:%M:%SZ"))
                    for at in ("startTime", "completionTime")
                )
                seen[each["metadata"]["labels"][labels.TRIAL]] = ended - begun
        time.sleep(1)


def measured(cluster: Cluster, home: str, what: dict[str, Any] | Path) -> dict[str, Any]:
    """Run one experiment and tell seconds, records, TaskRuns and what is left."""
    import threading  # noqa: PLC0415

    stop: list[bool] = []
    seen: dict[str, float] = {}
    watcher = threading.Thread(target=overheads, args=(cluster, home, stop, seen))
    watcher.start()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = what if isinstance(what, Path) else folder / "e.yaml"
        if not isinstance(what, Path):
            file.write_text(yaml.safe_dump(what))
        try:
            seconds, records = run(home, file, folder)
        finally:
            stop.append(True)
            watcher.join()
    return {"seconds": seconds, "records": records, "task_runs": seen, "left": left(cluster, home)}


def ended_trials(cluster: Cluster, home: str) -> dict[str, str]:
    """Give when each trial ended whose TaskRun is there, by id."""
    found = cluster.find(TASK_RUN, home, {labels.TRIAL: None})
    times = {each["metadata"]["labels"][labels.TRIAL]: each.get("status", {}) for each in found}
    return {trial: s["completionTime"] for trial, s in times.items() if "completionTime" in s}


def thousand(cluster: Cluster, home: str) -> None:
    """Submit 1,000 trials, cancel, run again, cancel again; tell what each took and left."""
    matrix = {
        "workload.output_len": list(range(4, 44)),
        "workload.question_len": list(range(10, 35)),
    }
    with tempfile.TemporaryDirectory() as place:
        file, store = Path(place) / "e.yaml", Path(place) / "results"
        file.write_text(yaml.safe_dump(document("thousand", "1s", matrix, parallelism=4)))
        settings = [f"run.cluster.namespace={home}", f"results.store={store}"]
        words = [str(file), *(word for each in settings for word in ("--set", each))]
        began = time.monotonic()
        subprocess.run([PROGRAM, "submit", *words], check=True)
        submitted = time.monotonic() - began
        while len(first := ended_trials(cluster, home)) < 20:
            time.sleep(1)
        began = time.monotonic()
        subprocess.run([PROGRAM, "cancel", "thousand", "--namespace", home], check=True)
        cancelled, stands = time.monotonic() - began, left(cluster, home)
        print(
            f"1,000 trials: submitted in {submitted:.0f} s; cancelled after {len(first)} in "
            f"{cancelled:.0f} s, {stands} objects left (the claim with the records is one)"
        )
        command = [str(PROGRAM), "run", *words, "--engine", "tekton"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as again:
            assert again.stderr is not None
            lines = [again.stderr.readline() for _ in range(8)]
            while len(more := ended_trials(cluster, home)) < 4:
                time.sleep(1)
            again.send_signal(signal.SIGINT)
            lines += again.stderr.readlines()
        records = {path.parent.name for path in store.glob("*/*/record.json")}
        print(*[line.rstrip() for line in lines if "before" in line], sep="\n")
        print(
            f"  run again: {len(records & first.keys())} of those {len(first)} on record, "
            f"{len(first.keys() & more.keys())} of them measured again, "
            f"{len(records - first.keys())} new"
        )
        began = time.monotonic()
        subprocess.run([PROGRAM, "cancel", "thousand", "--namespace", home], check=True)
        print(
            f"  cancelled in {time.monotonic() - began:.0f} s, {left(cluster, home)} objects left"
        )


def told(name: str, found: dict[str, Any], trials: int) -> None:
    valid = sum(
        all(check["verdict"] != "fail" for check in record["checks"]) for record in found["records"]
    )
    print(
        f"{name}: {len(found['records'])} of {trials} trials recorded, {valid} valid, "
        f"{found['seconds']:.0f} s, {found['left']} objects left"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True)
    every = ["quickstart", "overhead", "lanes", "matrix", "thousand"]
    parser.add_argument("parts", nargs="*", default=every)
    parser.add_argument("--seconds", type=int, default=60, help="of each trial of the lanes")
    asked = parser.parse_args()
    home = asked.namespace
    lengths = [4 + number for number in range(16)]
    with Cluster.connect() as cluster:
        if "quickstart" in asked.parts:
            told("quickstart", measured(cluster, home, EXAMPLES / "quickstart.yaml"), 16)
        if "overhead" in asked.parts:
            matrix = {"workload.output_len": lengths[:8]}
            found = measured(cluster, home, document("overhead", "5s", matrix))
            told("overhead", found, 8)
            over = []
            for record in found["records"]:
                (workload,) = (s for s in record["steps"] if s["step"] == "workload")
                applied = {s["step"] for s in record["steps"] if s["outcome"] == "applied"}
                if "server" not in applied and record["trial"] in found["task_runs"]:
                    over.append(found["task_runs"][record["trial"]] - workload["seconds"])
            print("  seconds of a TaskRun over its workload, stack unchanged:",
                  " ".join(f"{each:.1f}" for each in sorted(over)))  # fmt: skip
        if "lanes" in asked.parts:
            took = {}
            for count in (1, 4):
                matrix = {"workload.output_len": lengths}
                what = document(f"lanes-{count}", f"{asked.seconds}s", matrix, parallelism=count)
                found = measured(cluster, home, what)
                told(f"parallelism {count}", found, 16)
                took[count] = found["seconds"]
            print(f"  parallelism 4 is {took[1] / took[4]:.2f} times as fast as 1")
        if "thousand" in asked.parts:
            thousand(cluster, home)
        if "matrix" in asked.parts:
            matrix = {
                "workload.output_len": lengths[:6],
                "workload.question_len": [10 + number for number in range(6)],
            }
            fresh = document("matrix", "2s", matrix, isolation="fresh", parallelism=4)
            told("36 fresh combinations in one matrix", measured(cluster, home, fresh), 36)


if __name__ == "__main__":
    main()
