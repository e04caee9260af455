"""A real run on a cluster as ``status``, ``logs`` and ``cancel`` show and end it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.stacks.waiting import until

pytestmark = pytest.mark.long

Runs = Callable[..., Any]
FILE = """
name: watched
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated}
workload: {kind: random, question_len: 10, output_len: 10, load: {rate: 5}, duration: SECONDS}
matrix: {workload.question_len: [10, 20]}
run: {engine: tekton, cluster: {namespace: HOME}}
"""


def write(folder: Path, namespace: Any, *, seconds: int) -> None:
    text = FILE.replace("SECONDS", f"{seconds}s").replace("HOME", namespace.name)
    (folder / "e.yaml").write_text(text, encoding="utf-8")


def ours(cluster: Any, *words: str) -> list[str]:
    found = cluster.kubectl.get(*words, "-l", "llmatrix.dev/experiment=watched")["items"]
    return [f"{each['kind']} {each['metadata']['name']}" for each in found]


def test_a_run_is_seen_followed_and_cancelled(
    namespace: Any, cluster: Any, our_image: str, llmatrix: Runs, tmp_path: Path
) -> None:
    write(tmp_path, namespace, seconds=40)
    none = llmatrix("status", "e.yaml")
    assert f"namespace {namespace.name}: no PipelineRun of watched" in none.out
    submitted = llmatrix("submit", "e.yaml", LLMATRIX_IMAGE=our_image)
    assert submitted.code == 0, submitted.err

    def works() -> str:
        said = llmatrix("status", "e.yaml")
        assert said.code == 0, said.err
        return said.out if "workload for" in said.out else ""

    seen = until(works, 150, every_s=1.0)
    assert seen, llmatrix("status", "e.yaml").out
    lane = next(line for line in seen.splitlines() if line.startswith("lane 0: watched-"))
    assert "0 of 2 trials ended, 1 running, 1 waiting" in lane
    running = next(line for line in seen.splitlines() if "question_len=" in line)
    trial = running.split()[0]

    said = llmatrix("logs", "e.yaml", trial, "--step", "router")
    assert said.code == 0, said.err
    assert all(line.startswith("router: ") for line in said.out.splitlines())
    assert "router: router applied in" in said.out
    said = llmatrix("logs", "e.yaml")
    assert f"namespace: trial {trial}" in said.out
    unknown = llmatrix("logs", "e.yaml", "zzzz")
    assert (unknown.code, unknown.out) == (2, "")
    assert "no trial of watched begins with 'zzzz'" in unknown.err

    followed = llmatrix("logs", "e.yaml", trial, "--follow")
    assert followed.code == 0, followed.err
    assert "workload: workload applied in" in followed.out
    assert "teardown: " in followed.out

    cancelled = llmatrix("cancel", "e.yaml")
    assert cancelled.code == 0, cancelled.err
    print(cancelled.err, cancelled.out)  # noqa: T201 - shown with -s
    everything = "pipelineruns,taskruns,pods,configmaps,services,deployments,statefulsets,leases"
    assert ours(cluster, everything, "-n", namespace.name) == []
    assert ours(cluster, "namespaces") == []
    for kind in ("tasks", "stepactions"):
        assert namespace.get(kind)["items"] == []
    gone = llmatrix("logs", "e.yaml", trial)
    assert gone.code == 3
    assert f"trial {trial} left nothing there" in gone.err
    assert "llmatrix run" in gone.err


def test_what_a_trial_left_is_shown_when_its_pod_is_gone(
    namespace: Any, our_image: str, llmatrix: Runs, tmp_path: Path
) -> None:
    write(tmp_path, namespace, seconds=5)
    one = ("--only", "workload.question_len=10")
    ran = llmatrix("run", "e.yaml", *one, LLMATRIX_IMAGE=our_image)
    assert ran.code == 0, ran.err
    records = sorted((tmp_path / "results" / "watched").glob("*/record.json"))
    assert len(records) == 1
    trial = json.loads(records[0].read_text("utf-8"))["trial"]
    said = llmatrix("logs", "e.yaml", trial[:10])
    assert said.code == 0, said.err
    assert "is gone; from the store" in said.err
    assert "workload: applied in" in said.out
    assert any(".log: " in line for line in said.out.splitlines())
