"""The short way of reading a record: it lets nothing through that the long way would not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from llmatrix.analysis.checks import Check
from llmatrix.results.levels import complete
from llmatrix.results.record import Attempt, Record, StepOutcome, StoredFile
from llmatrix.results.records import READERS
from llmatrix.results.trial_row import (
    AttemptRow,
    CheckRow,
    FileRow,
    Measured,
    StepRow,
    TrialRow,
    read_row,
)
from llmatrix.results.trials_table import trials_table

WHOLE: dict[str, Any] = orjson.loads((Path(__file__).parent / "data/record-v1.json").read_bytes())
OTHERS: tuple[Any, ...] = (
    None,
    True,
    3,
    1.5,
    -0.0,
    1e300,
    "",
    "3",
    "pass",
    [],
    [1],
    {},
    {"a": None},
    {"a": "b"},
)
"""What is put in the place of every value: of each type of JSON, and near misses."""


def short(content: bytes) -> TrialRow | None:
    return read_row(content, WHOLE["experiment"], WHOLE["trial"])


def long(content: bytes) -> Record | None:
    try:
        document = orjson.loads(content)
        return READERS[document["version"]](document)
    except (ValueError, KeyError, TypeError, ValidationError):
        return None


def table_of(record: Measured) -> Any:
    levels = complete([record], tuple(record.levels))
    return trials_table([record], levels, tuple(record.levels))


def agrees(content: bytes) -> bool:
    """Tell whether the short way took it; then the long one must have, with the same row."""
    row = short(content)
    if row is None:
        return False
    record = long(content)
    assert record is not None, content
    assert (row.document, row.versions) == (record.document, record.versions)
    assert table_of(row).equals(table_of(record)), content
    return True


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value in a document."""
    if path:
        yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, each in value.items() if isinstance(value, dict) else ():
        yield from places(each, (*path, key))


def changed(path: tuple[Any, ...], *value: Any) -> bytes:
    """Write the record with another value at ``path``, or without it."""
    document = copy.deepcopy(WHOLE)
    at = document
    for part in path[:-1]:
        at = at[part]
    if value:
        at[path[-1]] = value[0]
    else:
        del at[path[-1]]
    return orjson.dumps(document)


def test_a_whole_record_is_read_the_short_way() -> None:
    assert agrees(orjson.dumps(WHOLE))
    assert agrees(Record.model_validate(WHOLE).model_dump_json(indent=1).encode())


@pytest.mark.parametrize(
    ("row", "model"),
    [
        (TrialRow, Record),
        (StepRow, StepOutcome),
        (AttemptRow, Attempt),
        (CheckRow, Check),
        (FileRow, StoredFile),
    ],
)
def test_it_has_the_fields_of_what_it_stands_for(row: Any, model: Any) -> None:
    known = TypeAdapter(model).json_schema()
    optional = {f.encode_name for f in msgspec.structs.fields(row) if not f.required}
    names = {f.encode_name for f in msgspec.structs.fields(row)}
    assert names == known["properties"].keys()
    assert names - optional == {*known["required"], *({"version"} & names)}


def test_whatever_stands_in_a_field_both_ways_agree() -> None:
    taken = 0
    for path in places(WHOLE):
        for other in OTHERS:
            taken += agrees(changed(path, other))
        taken += agrees(changed(path))
        at: Any = WHOLE
        for part in path:
            at = at[part]
        if isinstance(at, dict):
            taken += agrees(changed((*path, "unheard of"), 1))
    assert taken > 100  # any document, any figure: what is allowed is not refused either
    assert not agrees(changed(("unheard of",), 1))


@pytest.mark.parametrize("every", [1, 7])
def test_a_torn_record_is_not_read(every: int) -> None:
    content = orjson.dumps(WHOLE) if every == 1 else orjson.dumps(WHOLE, option=orjson.OPT_INDENT_2)
    for end in range(0, len(content), every):
        assert short(content[:end]) is None
    for start in range(0, len(content) - 64, every):
        agrees(content[:start] + bytes(64) + content[start + 64 :])


@pytest.mark.parametrize(
    "text",
    [
        b"NaN", b"Infinity", b"1e999", b"-", b"01", b"nul", b'"\xff"', b'"\\ud800"', b'"\n"',
        b"[1,]", b'{"a":1,}', b'{"a":1,"a":2}', b"123456789012345678901234567890",
        b"[" * 2000 + b"]" * 2000,
    ],
)  # fmt: skip
def test_text_that_is_no_json_is_let_through_nowhere(text: bytes) -> None:
    for path in places(WHOLE):
        content = changed(path, "HERE").replace(b'"HERE"', text)
        agrees(content)
    assert not agrees(orjson.dumps(WHOLE) + text)


def test_a_record_of_another_trial_or_experiment_is_left_to_the_long_way() -> None:
    content = orjson.dumps(WHOLE)
    assert read_row(content, "another", WHOLE["trial"]) is None
    assert read_row(content, WHOLE["experiment"], "0" * 20) is None
