"""What a step of a trial tells where it cannot even begin."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.engines.tekton.compile import compiled
from llmatrix.engines.tekton.engine import lost
from llmatrix.engines.tekton.pod import Given, run_step
from llmatrix.engines.tekton.reading import read_trial
from llmatrix.engines.tekton.settings import Settings
from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.document import decode, encode
from llmatrix.plan.step import Step
from llmatrix.steps.told import DETAIL, OUTCOME


def ended(step: str, exit_code: int, **results: str) -> dict[str, Any]:
    return {
        "name": step,
        "results": [{"name": name, "value": value} for name, value in results.items()],
        "terminated": {"exitCode": exit_code, "reason": "Completed"},
        "terminationReason": "Continued",
    }


def test_a_trial_that_cannot_be_read_is_told(
    plan_of: Callable[..., Plan], settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    plan = plan_of()
    ((run,),) = compiled(plan, settings_of(plan), now=1_800_000_000.0).pipelineruns
    (task,), (orders,) = run["spec"]["pipelineSpec"]["tasks"], run["spec"]["params"]
    (document,) = decode(next(each["value"] for each in task["params"] if each["name"] == "trial"))
    document = copy.deepcopy(document)
    document["treatment"]["workload"]["from_tomorrow"] = 1
    given = Given(encode([document]), orders["value"], {})
    told = tmp_path / "told/outcome"
    with pytest.raises(UserError):
        run_step(Step.NAMESPACE, given, tmp_path / "work", told, threading.Event())
    assert told.with_name(OUTCOME).read_text() == "failed"
    detail = told.with_name(DETAIL).read_text()
    assert "cannot read the trial" in detail
    assert "from_tomorrow" in detail
    task_run = {
        "metadata": {"name": "t"},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "steps": [
                ended("namespace", 2, outcome="failed", detail=detail),
                ended("gateway", 2, outcome="failed", detail="orders.txt is not there"),
            ],
        },
    }
    (attempt,) = lost(plan.trial(0), read_trial(task_run)).attempts
    assert attempt.message == detail
