"""Plans from documents, through the real reader."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.plan.build import Plan
from llmatrix.plan.estimate import StepSeconds
from llmatrix.spec.load import load

BASE: dict[str, Any] = {
    "name": "plan-test",
    "model": {"name": "Qwen/Qwen3-0.6B"},
    "stack": {"kind": "simulated", "replicas": 2},
    "workload": {
        "kind": "random",
        "question_len": 100,
        "output_len": 10,
        "load": {"rate": 10},
        "duration": 20,
        "warmup": 2,
    },
}
PICKERS = ("none", "prefix", "kv", "queue")

MakePlan = Callable[..., Plan]


def versions(stack: str, harness: str) -> Mapping[str, str]:
    return {"stack": f"{stack}/1", "harness": f"{harness}/1"}


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(BASE)


@pytest.fixture
def make_plan(tmp_path: Path, document: dict[str, Any]) -> MakePlan:
    (tmp_path / "router").mkdir()
    for name in PICKERS:
        (tmp_path / f"router/{name}.yaml").write_text(f"# {name}\n")

    def make(
        matrix: Mapping[str, Any] | None = None,
        *,
        only: Mapping[str, frozenset[str]] | None = None,
        versions: Callable[[str, str], Mapping[str, str]] = versions,
        step_seconds: Mapping[str, StepSeconds] | None = None,
        **changes: Any,
    ) -> Plan:
        content = {**copy.deepcopy(document), **changes}
        if matrix is not None:
            content["matrix"] = dict(matrix)
        file = tmp_path / "experiment.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return Plan(load(file), versions, only=only, step_seconds=step_seconds)

    return make
