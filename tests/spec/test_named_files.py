"""The files that a treatment names, and where they are."""

from __future__ import annotations

from pathlib import Path

from llmatrix.plan.digest import document_digest
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.named_files import left_out, placed

MODEL = {"name": "m", "tokenizer": {"sha256": "a" * 64}}
FILE = {"sha256": "b" * 64, "rows": 10, "longest": 1, "longest_output": 1, "mean_output": 1.0}
TRACE = {
    "kind": "trace",
    "trace": {**FILE, "lasts": 1e3},
    "prompt": "text",
    "warmup": 0.0,
    "duration": 10.0,
}


def treatment(**trace: object) -> Treatment:
    workload = {**TRACE, "trace": {**TRACE["trace"], **trace}}  # type: ignore[dict-item]
    return Treatment.model_validate(
        {"model": MODEL, "stack": {"kind": "simulated"}, "workload": workload}
    )


def test_they_are_named_by_field_and_hash() -> None:
    found = [(each.field, each.sha256, each.called) for each in left_out(treatment())]
    assert found == [
        ("model.tokenizer", "a" * 64, "tokenizer.json"),
        ("workload.trace", "b" * 64, "trace"),
    ]


def test_one_that_the_document_holds_is_not_among_them() -> None:
    assert [each.field for each in left_out(treatment(text="x"))] == ["model.tokenizer"]


def test_placing_them_changes_where_they_are_and_nothing_that_counts() -> None:
    before = treatment()
    places = {"model.tokenizer": Path("/x/tokenizer.json"), "workload.trace": Path("/y/trace")}
    after = placed(before, places)
    assert [each.place for each in left_out(after)] == list(places.values())
    assert document_digest(after) == document_digest(before)
    assert placed(before, {}) == before
