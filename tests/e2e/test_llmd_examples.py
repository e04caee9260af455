"""The examples of the llm-d stack on a real cluster, simulated; lengths, loads and time are cut."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from e2e.runs import Field, ground
from e2e.sites import admin, judged
from llmatrix.cluster import labels
from llmatrix.cluster.kinds import POD
from llmatrix.cluster.naming import dns_name
from tools.devcluster import extras
from tools.devcluster.layout import layout

__all__ = ["admin", "ground"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
EXPERIMENT: dict[str, Any] = {}
"""Read from an example."""
EXAMPLES = Path(__file__).parents[2] / "examples"
OUTPUT_LEN = 20
REQUESTS, TOKENS = "vllm:request_success_total", "vllm:generation_tokens_total"
SHORT = {"warmup": "1s", "duration": "4s"}


@pytest.fixture(autouse=True)
def cleared(ground: Field) -> Iterator[None]:
    """Leave nothing up, whatever fails; the binding is the cluster's, not the namespace's."""
    yield
    ground.done("cancel", str(ground.file))
    binding = dns_name("llmatrix-sites", ground.home, "llmatrix")
    ground.kubectl.run("delete", "clusterrolebinding", binding, "--ignore-not-found")


def read(name: str, picker: str = "epp") -> dict[str, Any]:
    """Read an example; ``picker`` is the short name of its picker's image."""
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    parts = extras.add(layout(), "gateway", "llm-d").images
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / f"llm-d/{name}.yaml").read_text())
    stack = document["stack"]
    stack.setdefault("router", {})["image"] = parts[picker].name
    stack["gateway"]["proxy"] = {"image": parts["envoy"].name}
    document["workload"] |= SHORT
    del document["replicates"], document["results"]
    return document


def test_inference_scheduling(ground: Field) -> None:
    """Four configurations of the picker against 2 x 2 workloads: one start of the servers."""
    document = read("inference-scheduling")
    configs = document["matrix"]["stack.router.config"]
    document["matrix"]["stack.router.config"] = [str(EXAMPLES / "llm-d" / one) for one in configs]
    document["workload"] |= {"prefix_len": 256, "load": {"rate": 10}}
    document["matrix"] |= {"workload.question_len": [10, 40], "workload.output_len": [5, 10]}
    document["run"] |= ground.document["run"]
    ground.document = document
    process = ground.start()
    made: defaultdict[str, set[str]] = defaultdict(set)
    while process.poll() is None:
        for pod in ground.cluster.find(POD, None, {labels.EXPERIMENT: document["name"]}):
            made[pod["metadata"]["labels"].get(labels.STEP, "")].add(pod["metadata"]["uid"])
        time.sleep(0.5)  # between two looks; every pod that counts here lives for seconds
    assert process.returncode == 0, ground.log()
    records = ground.records()
    assert len({record["trial"] for record in records}) == 16, ground.log()
    assert len(made["server"]) == document["stack"]["server"]["replicas"] == 4
    assert len(made["gateway"]) == 1
    assert len(made["router"]) == 4
    ground.nothing_left()


def test_prefill_decode(ground: Field) -> None:
    """Every deployment of both roles; each request is prefilled by one and decoded by another."""
    document = read("prefill-decode", picker="llm-d-epp")
    config = EXAMPLES / "llm-d" / document["stack"]["router"]["config"]
    document["stack"]["router"] |= {"config": earlier(config), "metrics": "configured"}
    document["workload"] |= {"question_len": 400, "output_len": OUTPUT_LEN}
    document["matrix"]["workload.load.concurrency"] = [4, 16]
    document["run"] |= ground.document["run"]
    ground.document = document
    assert ground.start().wait(1200) == 0, ground.log()
    records = ground.records()
    assert len({record["trial"] for record in records}) == 18, ground.log()
    for record in records:
        judged(record, "error_share", "output_tokens_exact")
        server = record["document"]["stack"]["server"]
        results = ground.folder / "results" / document["name"] / record["trial"]
        found = per_request(results / "server.parquet")
        prefilled = [tokens for tokens in found if tokens < OUTPUT_LEN / 2]
        # Those that prefill give one token each; of the others some are still at work at the end.
        assert prefilled == [1.0] * server["prefill"]["replicas"]
        assert len(found) - len(prefilled) == server["replicas"]
    ground.nothing_left()


def test_a_picker_that_refuses_the_flags_for_metrics_is_told_with_the_remedy(ground: Field) -> None:
    document = read("prefill-decode", picker="llm-d-epp")
    config = EXAMPLES / "llm-d" / document["stack"]["router"]["config"]
    document["stack"]["router"]["config"] = earlier(config)
    del document["matrix"], document["run"]
    document["run"] = ground.document["run"] | {"retries": 0}
    ground.document = document
    assert ground.start().wait(300) == 1, ground.log()
    (failure,) = ground.failures()
    attempt = failure["attempts"][-1]
    assert attempt["step"] == "router"
    assert "cannot be used" in attempt["message"]
    assert attempt["message"].endswith("set stack.router.metrics: configured.")
    ground.nothing_left()


def earlier(config: Path) -> dict[str, Any]:
    """Give a configuration as llm-d's picker v0.7 reads it.

    The group ``llm-d.ai`` came with v0.8; before it another plugin named the server that prefills.
    """
    document: dict[str, Any] = yaml.safe_load(config.read_text())
    document["apiVersion"] = "inference.networking.x-k8s.io/v1alpha1"
    document["plugins"].append({"type": "disagg-headers-handler"})
    return document


def per_request(file: Path) -> list[float]:
    """Give how many tokens each server generated for each request that it finished meanwhile."""
    samples: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in pq.read_table(file).to_pylist():
        if row["metric"] in {REQUESTS, TOKENS}:
            samples[row["server"], row["metric"], row["labels"]].append(row["value"])
    more: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (server, metric, _), values in samples.items():
        more[server, metric] += values[-1] - values[0]
    servers = {server for server, _ in more}
    return sorted(more[server, TOKENS] / more[server, REQUESTS] for server in servers)
