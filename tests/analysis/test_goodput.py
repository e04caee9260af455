from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from llmatrix.analysis.goodput import goodput
from llmatrix.columns import REQUEST_COLUMNS, arrow_schema

WINDOW = (0.0, 2.0)


def table(*rows: dict[str, Any]) -> pa.Table:
    given = {"phase": "window", "ttft_ms": 50.0, "tpot_ms": 10.0, "e2e_ms": 140.0}
    blank = dict.fromkeys(REQUEST_COLUMNS)
    every = [{**blank, **given, "itl_ms": [10.0, 12.0], **row} for row in rows]
    return pa.Table.from_pylist(every, schema=arrow_schema(REQUEST_COLUMNS))


def test_a_request_counts_if_it_keeps_every_limit() -> None:
    rows = table({}, {"ttft_ms": 300.0}, {"tpot_ms": 60.0}, {"ttft_ms": 200.0})
    found = goodput(rows, window_s=WINDOW, limits_ms={"ttft_ms": 200.0, "tpot_ms": 50.0})
    assert (found.requests_per_s, found.share) == (1.0, 0.5)


def test_failed_requests_and_other_phases_do_not_count() -> None:
    rows = table({}, {"error": "http"}, {"phase": "warmup"}, {"ttft_ms": None, "error": "timeout"})
    found = goodput(rows, window_s=WINDOW, limits_ms={"ttft_ms": 200.0})
    assert found.requests_per_s == 0.5
    assert found.share == pytest.approx(1 / 3)


def test_the_longest_gap_counts_and_one_token_has_none() -> None:
    rows = table({"itl_ms": [10.0, 90.0]}, {"itl_ms": []}, {"itl_ms": None, "tpot_ms": None}, {})
    found = goodput(rows, window_s=WINDOW, limits_ms={"itl_ms": 50.0, "tpot_ms": 50.0})
    assert (found.requests_per_s, found.share) == (1.5, 0.75)


def test_nothing_has_no_share() -> None:
    found = goodput(table(), window_s=WINDOW, limits_ms={"ttft_ms": 1.0})
    assert (found.requests_per_s, found.share) == (0.0, None)
