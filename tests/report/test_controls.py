"""Control trials in the report: they tell drift, and are in no estimate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.report.page import render_page
from llmatrix.report.sides import Side
from llmatrix.report.summary import Summary
from llmatrix.report.terminal import describe
from llmatrix.results.dataset import load
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Record
from llmatrix.results.records import write_record

Shape = Callable[..., Any]
CONTROL = {"stack.router.config": "none", "workload.question_len": "100"}


@pytest.fixture
def controlled(
    synthesize: Callable[[Any], Path], synthetic: Shape, record_of: Callable[..., Record]
) -> Summary:
    """Five control trials beside single replicates, on a machine that slows by 2 % at each."""
    shape = synthetic(replicates=1, requests=5)
    folder = synthesize(shape)
    store = FolderStore(folder.parent)
    for number in range(5):
        record = record_of(shape, number, CONTROL, 0, trial=f"c{number}".ljust(20, "0"))
        changes = {
            "replicate": {"deployment": 0, "workload": 0, "control": number + 1},
            "metrics": {**record.metrics, "ttft_ms_p50": 200.0 * 1.02**number},
            "started_at": 1.7e9 + 1000.0 * number,
        }
        write_record(store, record.model_copy(update=changes), {})
    return Summary(load(store, folder.name))


def test_they_are_in_no_estimate_and_in_no_comparison(controlled: Summary) -> None:
    assert len(controlled.treatments) == 6
    for treatment in controlled.treatments:
        assert len(treatment.records) == len(treatment.valid) == 1
        assert treatment.estimate("ttft_ms_p50").n == 1
    first = next(t for t in controlled.treatments if t.controls)
    assert first.levels == ("none", "100")
    assert [record.control for record in first.controls] == [1, 2, 3, 4, 5]
    mean = first.estimate("ttft_ms_p50").mean
    assert mean is not None
    assert mean < 100  # the controls took 200
    assert len(Side("A", controlled.dataset, {}).records) == 6


def test_they_tell_drift_where_nothing_else_is_repeated(controlled: Summary) -> None:
    page = render_page(controlled)
    assert "5 control trials among them" in page
    assert "told by 5 control trials and the replicates, each against its own treatment" in page
    assert "TTFT p50 +" in page


def test_they_are_named_and_have_a_column(controlled: Summary) -> None:
    last = controlled.dataset.records[-1]
    assert describe(last) == "config=none question_len=100 control 5"
    table = controlled.dataset.trials()
    assert table["replicate_control"].to_pylist().count(None) == 6
    assert table["replicate_control"].to_pylist()[-1] == 5


def test_a_page_of_nothing_but_controls_stands(
    tmp_path: Path, synthetic: Shape, record_of: Callable[..., Record]
) -> None:
    shape = synthetic()
    replicate = {"deployment": 0, "workload": 0, "control": 1}
    store = FolderStore(tmp_path)
    record = record_of(shape, 0, CONTROL, 0).model_copy(update={"replicate": replicate})
    write_record(store, record, {})
    page = render_page(Summary(load(store, shape.name)))
    assert "1 control trial among them" in page
