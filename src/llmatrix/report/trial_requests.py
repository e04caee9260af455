"""Each trial's requests, packed for drawing: all of them where they are few, else a fair part.

Latencies and times of schedule are coded as 16-bit numbers on a logarithmic scale: a picture needs
no more than the 0.03 % that this costs, and a page of 250,000 requests stays small.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from llmatrix.report.summary import Summary

MOST_REQUESTS: Final = 200_000
"""Requests that a page holds; 13 bytes each."""
SLOWEST: Final = 0.99
"""Requests slower to the first token than this quantile of their trial are all among them."""
UNIT_MS: Final = 0.05
STEPS: Final = 3600
"""A latency of x ms has the code STEPS * ln(1 + x / UNIT_MS); up to 66 minutes."""
ABSENT: Final = 65_535
FIGURES: Final = ("scheduled", "ttft", "tpot", "e2e")
PHASES: Final = ("warmup", "window", "drain")
FAILED: Final = 4
"""Added to the place of the phase for a request that failed."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The requests of one trial.

    Attributes:
        total: how many there are, whether drawn or not.
        count: how many are drawn.
        packed: base64 of ``count`` little-endian 16-bit codes for each of ``FIGURES``, then
            ``count`` bytes of phase and failure, then ``count`` bytes of the server's place.
        servers: who answered, by place; the last place is of those of whom nobody knows.
    """

    total: int
    count: int
    packed: str
    servers: tuple[str, ...]


def trial_requests(summary: Summary, connection: duckdb.DuckDBPyConnection) -> dict[str, Drawn]:
    """Pack the requests of every trial that has any.

    Where there are more than a page holds, every k-th of each trial is taken, and its slowest to
    the first token.

    Args:
        summary: what was measured.
        connection: of ``request_rows``.

    Raises:
        duckdb.Error: the requests cannot be read.
    """
    if not summary.dataset.records:
        return {}
    told = connection.execute("SELECT trial, count(*) FROM drawn_rows GROUP BY trial").fetchall()
    counts: dict[str, int] = dict(told)
    every = -(-sum(counts.values()) // MOST_REQUESTS)
    thin = (
        f"JOIN (SELECT trial, quantile_disc(ttft_ms, {SLOWEST}) AS slow FROM drawn_rows "  # noqa: S608
        f"GROUP BY trial) USING (trial) WHERE request % {every} = 0 OR ttft_ms > slow"
    )
    columns: dict[str, Any] = connection.execute(
        f"SELECT drawn_rows.* FROM drawn_rows {thin if every > 1 else ''} "  # noqa: S608
        "ORDER BY trial, request"
    ).fetchnumpy()
    trials = columns["trial"].astype(str)
    if not trials.size:  # no trial has requests that can be read
        return {}
    starts: Any = np.flatnonzero(np.r_[True, trials[1:] != trials[:-1]])
    ends = [*starts[1:], trials.size]
    return {
        str(trials[start]): _pack(columns, slice(start, end), counts[str(trials[start])])
        for start, end in zip(starts, ends, strict=True)
    }


def code(values_ms: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Code milliseconds; what is absent or negative is ``ABSENT``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.rint(STEPS * np.log1p(values_ms / UNIT_MS))
    found = np.where(np.isfinite(found) & (found >= 0), np.minimum(found, ABSENT - 1), ABSENT)
    return found.astype("<u2")


def _pack(columns: dict[str, Any], part: slice, total: int) -> Drawn:
    scheduled = _floats(columns["scheduled_s"][part]) * 1000
    codes = [code(scheduled)]
    codes += [code(_floats(columns[f"{name}_ms"][part])) for name in FIGURES[1:]]
    phases = np.asarray(columns["phase"][part], dtype=str)
    failed = np.asarray(columns["failed"][part], dtype=bool)
    places = np.full(phases.size, 1)
    for place, phase in enumerate(PHASES):
        places[phases == phase] = place
    answered: Any = np.ma.filled(np.ma.asarray(columns["server"][part], dtype=object), "")
    names, which = np.unique(np.array([name or "" for name in answered]), return_inverse=True)
    content = b"".join(each.tobytes() for each in codes)
    content += (places + FAILED * failed).astype(np.uint8).tobytes()
    content += np.minimum(which, 255).astype(np.uint8).tobytes()
    return Drawn(
        total=total,
        count=phases.size,
        packed=base64.b64encode(content).decode(),
        servers=tuple(str(name) for name in names),
    )


def _floats(column: Any) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
