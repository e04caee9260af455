"""What the harness tells reaches the checks, whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.harness.protocol import Measurement
from llmatrix.stacks.protocol import Hygiene
from llmatrix.steps.converge import converge
from llmatrix.steps.measured import judge
from llmatrix.target import Target

Bench = Any  # the fixture of conftest.py, which is no module that a test may import


def checks(
    bench: Bench, folder: Path, *, api: str, opened: int | None, longer: int = 0
) -> dict[str, Check]:
    """Judge the bench's requests again, with prompts that counted ``longer`` than asked."""
    record = converge(bench.run(), retries=0)
    requests = pq.read_table(bench.store.local(f"steps/{record.trial}/requests.parquet"))
    counted = pa.array([100 + longer] * requests.num_rows, type=pa.int32())
    place = requests.schema.get_field_index("prompt_tokens")
    pq.write_table(
        requests.set_column(place, "prompt_tokens", counted), folder / "requests.parquet"
    )
    trial = bench.trials[0]
    workload = trial.treatment.workload.model_copy(update={"api": api, "prompt": "text"})
    trial = replace(trial, treatment=trial.treatment.model_copy(update={"workload": workload}))
    measurement = Measurement((0.0, 10.0), 0.0, 0.1, 0.2, opened)
    target = Target("http://127.0.0.1:1", "m", simulated=True)
    found = judge(trial, folder, measurement, Hygiene(clean=True, detail=""), target=target)
    return {check.name: check for check in found.checks}


@pytest.mark.parametrize(
    ("opened", "verdict"), [(0, Verdict.PASS), (100, Verdict.WARN), (None, None)]
)
def test_connections_that_the_harness_counted_are_judged(
    bench: Bench, tmp_path: Path, opened: int | None, verdict: Verdict | None
) -> None:
    found = checks(bench, tmp_path, api="completions", opened=opened)
    check = found.get("connections_opened")
    assert (check and check.verdict) == verdict


@pytest.mark.parametrize(
    ("api", "verdict"), [("chat", Verdict.WARN), ("completions", Verdict.FAIL)]
)
def test_a_chat_template_is_no_wrong_prompt(
    bench: Bench, tmp_path: Path, api: str, verdict: Verdict
) -> None:
    found = checks(bench, tmp_path, api=api, opened=0, longer=7)
    assert found["prompt_tokens_exact"].verdict is verdict
