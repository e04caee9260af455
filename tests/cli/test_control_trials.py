"""Control trials, from the file to the report, by the real engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_control_trials_are_planned_run_kept_and_told(place: Any) -> None:
    file = place.write(
        run={"retries": 1, "control": {"every": 2}}, matrix={"workload.output_len": [4, 5, 6]}
    )
    planned = place("plan", file)
    assert "3 treatments × 1 replicate + 3 control trials = 6 trials in 1 lane" in planned.out
    assert "1.c3" in planned.out
    told = json.loads(place("plan", file, "--json").out)
    assert (told["controls"], told["trials"]) == (3, 6)
    assert [row["replicate"].get("control") for row in told["order"]] == [1, None, None, 2, None, 3]

    done = place.finish("run", file)
    assert done.code == 0, done.err
    records = place.records()
    assert len(records) == 6
    order = sorted(records.values(), key=lambda record: record["started_at"])
    assert [r["replicate"].get("control") for r in order] == [1, None, None, 2, None, 3]
    assert {r["levels"]["workload.output_len"] for r in order if "control" in r["replicate"]} == {
        "4"
    }

    asked = place(
        "query",
        "SELECT count(*) AS n, count(replicate_control) AS c FROM trials",
        "results/small",
        "--json",
    )
    assert json.loads(asked.out) == [{"n": 6, "c": 3}]
    report = place("report", "results/small")
    assert report.code == 0, report.err
    page = (place.folder / "results/small/report.html").read_text(encoding="utf-8")
    assert "told by 3 control trials" in page

    again = place.finish("run", file)  # all is there: nothing is measured anew
    assert again.code == 0
    assert place.records() == records
