"""Plans of small experiments, compiled for a cluster that is not asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cli.prepare import versions
from llmatrix.engines.tekton.compile import Compiled, compiled
from llmatrix.engines.tekton.settings import Settings, resolved
from llmatrix.plan.build import Plan
from llmatrix.spec.load import load

BASE: dict[str, Any] = {
    "name": "compile-test",
    "model": {"name": "Qwen/Qwen3-8B"},
    "stack": {"kind": "simulated"},
    "workload": {
        "kind": "random",
        "question_len": 100,
        "output_len": 10,
        "load": {"rate": 10},
        "duration": 20,
        "warmup": 2,
    },
}
NOW = 1_800_000_000.0
PLACE = {"namespace": "bench", "image": "example.org/llmatrix:1"}

PlanOf = Callable[..., Plan]
SettingsOf = Callable[..., Settings]
CompiledOf = Callable[..., Compiled]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Plan an experiment: ``plan_of(matrix, run=…, stack=…)``."""

    def make(matrix: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
        content = {**copy.deepcopy(BASE), **changes}
        if matrix is not None:
            content["matrix"] = dict(matrix)
        file = tmp_path / "experiment.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return Plan(load(file), versions)

    return make


@pytest.fixture
def settings_of() -> SettingsOf:
    """Resolve the settings of a plan."""

    def make(plan: Plan, **arguments: Any) -> Settings:
        return resolved(plan, **{**PLACE, **arguments})

    return make


@pytest.fixture
def compiled_of(plan_of: PlanOf, settings_of: SettingsOf) -> CompiledOf:
    """Compile an experiment as ``plan_of`` plans it."""

    def make(matrix: Mapping[str, Any] | None = None, **changes: Any) -> Compiled:
        plan = plan_of(matrix, **changes)
        return compiled(plan, settings_of(plan), now=NOW)

    return make
