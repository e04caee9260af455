from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llmatrix.report import trial_requests as packing
from llmatrix.report.request_rows import request_rows
from llmatrix.report.summary import Summary
from llmatrix.report.trial_requests import ABSENT, STEPS, UNIT_MS, Drawn, code, trial_requests

Summarize = Callable[[Any], Summary]


def unpacked(drawn: Drawn) -> tuple[np.ndarray[Any, Any], bytes, bytes]:
    """Give milliseconds of shape (4, count), the bytes of phases and those of servers."""
    content = base64.b64decode(drawn.packed)
    codes = np.frombuffer(content[: 8 * drawn.count], "<u2").reshape(4, -1)
    values = np.where(codes == ABSENT, np.nan, UNIT_MS * np.expm1(codes / STEPS))
    rest = content[8 * drawn.count :]
    return values, rest[: drawn.count], rest[drawn.count :]


def packed(summary: Summary) -> dict[str, Drawn]:
    with request_rows(summary) as connection:
        return trial_requests(summary, connection)


def test_a_code_keeps_a_latency_to_three_hundredths_of_a_percent() -> None:
    values = np.array([0.01, 0.5, 12.3, 987.6, 60_000.0, 3_000_000.0])
    back = UNIT_MS * np.expm1(code(values) / STEPS)
    assert np.abs(back - values).max() / 1 < 1000
    assert (np.abs(back / values - 1) < 3e-4)[1:].all()
    assert code(np.array([np.nan, -1.0, np.inf])).tolist() == [ABSENT] * 3
    assert code(np.array([1e300])).tolist() == [ABSENT - 1]


def test_few_requests_are_all_there(summarize: Summarize, synthetic: Callable[..., Any]) -> None:
    summary = summarize(synthetic(replicates=1, requests=30))
    found = packed(summary)
    assert set(found) == {record.trial for record in summary.dataset.records}
    trial, drawn = next(iter(found.items()))
    assert (drawn.total, drawn.count, drawn.servers) == (30, 30, ("",))
    values, phases, servers = unpacked(drawn)
    with request_rows(summary) as connection:
        rows = connection.execute(
            "SELECT scheduled_s * 1000, ttft_ms, tpot_ms, e2e_ms, phase FROM requests "
            "WHERE trial = ? ORDER BY request",
            [trial],
        ).fetchall()
    assert pytest.approx(np.array([row[:4] for row in rows]), rel=3e-4) == values.T
    assert [packing.PHASES[place] for place in phases] == [row[4] for row in rows]
    assert set(servers) == {0}


def test_of_many_requests_a_part_and_the_slowest_are_there(
    summarize: Summarize, synthetic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summarize(synthetic(replicates=1, requests=200))
    monkeypatch.setattr(packing, "MOST_REQUESTS", 240)
    with request_rows(summary) as connection:
        slowest: dict[str, float] = dict(
            connection.execute("SELECT trial, max(ttft_ms) FROM requests GROUP BY trial").fetchall()
        )
    for trial, drawn in packed(summary).items():
        assert drawn.total == 200
        assert 40 <= drawn.count <= 44
        values, _, _ = unpacked(drawn)
        assert np.nanmax(values[1]) == pytest.approx(slowest[trial], rel=3e-4)


def test_without_records_there_is_nothing(
    summarize: Summarize, synthetic: Callable[..., Any]
) -> None:
    assert packed(summarize(synthetic(factors={"a.b": []}))) == {}
