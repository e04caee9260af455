"""The examples of the llm-d stack on a real cluster, with simulated servers; only time is cut."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.runs import Field, ground
from e2e.sites import admin
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
SHORT = {"warmup": "1s", "duration": "4s"}


@pytest.fixture(autouse=True)
def cleared(ground: Field) -> Iterator[None]:
    """Leave nothing up, whatever fails; the binding is the cluster's, not the namespace's."""
    yield
    ground.done("cancel", str(ground.file))
    binding = dns_name("llmatrix-sites", ground.home, "llmatrix")
    ground.kubectl.run("delete", "clusterrolebinding", binding, "--ignore-not-found")


def read(name: str) -> dict[str, Any]:
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    parts = extras.add(layout(), "gateway").images
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / f"llm-d/{name}.yaml").read_text())
    stack = document["stack"]
    stack.setdefault("router", {})["image"] = parts["epp"].name
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
