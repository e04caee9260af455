"""Nodes and Tekton's settings, read from documents."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.facts import Tekton, deployments, is_accelerator, read_nodes


def node(
    name: str,
    has: dict[str, str] | None = None,
    *,
    ready: bool = True,
    cordoned: bool = False,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"unschedulable": cordoned},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "allocatable": {"cpu": "8", "memory": "1Gi", "nvidia.com/gpu": "0", **(has or {})},
        },
    }


def pod(on: str, phase: str = "Running", **requests: str) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": "1", **requests}}}
    return {"spec": {"nodeName": on, "containers": [container]}, "status": {"phase": phase}}


GPUS = {"nvidia.com/gpu": "8"}


def test_free_accelerators_are_those_that_no_living_pod_asked_for() -> None:
    nodes = read_nodes(
        [node("a", GPUS), node("b", GPUS), node("bare")],
        [
            pod("a", **{"nvidia.com/gpu": "3"}),
            pod("a", **{"nvidia.com/gpu": "1"}),
            pod("a", "Succeeded", **{"nvidia.com/gpu": "8"}),
            pod("b", "Pending", **{"nvidia.com/gpu": "9"}),
        ],
    )
    assert [(each.name, dict(each.accelerators), dict(each.free)) for each in nodes] == [
        ("a", {"nvidia.com/gpu": 8}, {"nvidia.com/gpu": 4}),
        ("b", {"nvidia.com/gpu": 8}, {"nvidia.com/gpu": 0}),
        ("bare", {}, {}),
    ]


def test_nodes_that_take_no_pods_are_left_out() -> None:
    nodes = [node("a", cordoned=True), node("b", ready=False), node("c")]
    assert [each.name for each in read_nodes(nodes, [])] == ["c"]


@pytest.mark.parametrize(
    ("resource", "accelerator"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("amd.com/gpu", True),
        ("google.com/tpu", True),
        ("habana.ai/gaudi", True),
        ("cpu", False),
        ("hugepages-2Mi", False),
        ("rdma/hca", False),
    ],
)
def test_which_resources_are_accelerators(resource: str, accelerator: bool) -> None:  # noqa: FBT001
    assert is_accelerator(resource) is accelerator


@pytest.mark.parametrize(
    ("defaults", "most"),
    [
        (None, 256),
        ({}, 256),
        ({"default-max-matrix-combinations-count": "64"}, 64),
        ({"default-max-matrix-combinations-count": "many"}, 256),
    ],
)
def test_combinations_of_a_matrix(defaults: dict[str, str] | None, most: int) -> None:
    assert Tekton("tekton-pipelines", "v1.6.0", None, defaults).combinations == most


def test_deployments_are_placed_whole_largest_pods_first() -> None:
    assert deployments([8, 8], [4, 4, 8], 5) == 1
    assert deployments([8, 8, 8], [4, 8], 5) == 2
    assert deployments([4, 4], [8], 5) == 0
    assert deployments([8], [1], 3) == 3
    assert deployments([], [1], 1) == 0
