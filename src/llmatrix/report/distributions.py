"""Quantiles of latencies per treatment: enough points for a curve, few enough for a small page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from llmatrix.report.summary import Summary

PROBABILITIES: Final = (
    0.0,
    0.002,
    0.01,
    *(round(0.02 * step, 2) for step in range(1, 49)),
    0.97,
    0.98,
    0.985,
    0.99,
    0.995,
    0.998,
    1.0,
)
MEASURES: Final = {"ttft": "ttft_ms", "e2e": "e2e_ms", "tpot": "tpot_ms"}
MOST_GAPS: Final = 1_000_000
"""Inter-token gaps above which only every k-th request is read: a picture needs no more."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One curve.

    Attributes:
        treatment: its place in ``Summary.treatments``.
        valid: false where the treatment has no valid trial, so that invalid ones are drawn.
        count: samples behind it, pooled over the treatment's trials.
        quantiles_ms: at ``PROBABILITIES``.
    """

    treatment: int
    valid: bool
    count: int
    quantiles_ms: tuple[float, ...]


def distributions(
    summary: Summary, connection: duckdb.DuckDBPyConnection
) -> dict[str, list[Distribution]]:
    """Give the curves of ``ttft``, ``itl``, ``tpot`` and ``e2e`` over each treatment's requests.

    Requests of the measured window that ended without error; those of valid trials only, unless
    a treatment has none.

    Args:
        summary: what was measured.
        connection: of ``request_rows``.

    Raises:
        duckdb.Error: the requests cannot be read.
    """
    chosen = [
        (record.trial, index, bool(treatment.valid))
        for index, treatment in enumerate(summary.treatments)
        for record in treatment.valid or treatment.records
    ]
    if not chosen:
        return {}
    columns = zip(("trial", "treatment", "valid"), zip(*chosen, strict=True), strict=True)
    connection.register("chosen", pa.table({name: list(part) for name, part in columns}))
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW measured AS SELECT drawn_rows.*, treatment, valid "
        "FROM drawn_rows JOIN chosen USING (trial) WHERE phase = 'window' AND whole"
    )
    found = {name: _curves(connection, column) for name, column in MEASURES.items()}
    found["itl"] = _gap_curves(connection)
    return {name: curves for name, curves in found.items() if curves}


def _curves(connection: duckdb.DuckDBPyConnection, column: str) -> list[Distribution]:
    return _fetch(connection, column, "measured")


def _gap_curves(connection: duckdb.DuckDBPyConnection) -> list[Distribution]:
    total = connection.execute("SELECT coalesce(sum(events), 0) FROM measured").fetchall()
    every = int(total[0][0]) // MOST_GAPS + 1
    gaps = (
        "(SELECT treatment, valid, unnest(itl_ms) AS itl_ms FROM requests JOIN chosen "  # noqa: S608
        f"USING (trial) WHERE phase = 'window' AND error IS NULL AND request % {every} = 0)"
    )
    return _fetch(connection, "itl_ms", gaps)


def _fetch(connection: duckdb.DuckDBPyConnection, column: str, source: str) -> list[Distribution]:
    """Ask for the quantiles of a column; both names are this module's own, never a user's."""
    rows: Sequence[tuple[int, bool, int, list[float]]] = connection.execute(
        f"SELECT treatment, valid, count({column}), "  # noqa: S608
        f"quantile_cont({column}, {list(PROBABILITIES)}) FROM {source} "
        f"WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY treatment"
    ).fetchall()
    return [Distribution(t, valid, count, tuple(values)) for t, valid, count, values in rows]
