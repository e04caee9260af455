"""Goodput: the requests that keep every objective, per second.

As in DistServe (Zhong et al., OSDI 2024, section 1): a request counts only if it completed and
each of its own latencies is at or below the objective's limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Goodput:
    """What of a trial's traffic kept the objectives.

    Attributes:
        requests_per_s: completed requests of the window that kept all, per second of the window.
        share: of all requests scheduled in the window, failed ones included; None without any.
    """

    requests_per_s: float
    share: float | None


def goodput(
    requests: pa.Table, *, window_s: tuple[float, float], limits_ms: Mapping[str, float]
) -> Goodput:
    """Count the requests that keep every limit.

    Args:
        requests: the rows of all phases (columns of ``REQUEST_COLUMNS``).
        window_s: start and end of the window, in the rows' seconds.
        limits_ms: by column of the rows: ``ttft_ms``, ``tpot_ms``, ``e2e_ms``; for ``itl_ms`` a
            request's longest gap counts. A request of one token, which has no time per output
            token and no gap, keeps those limits.
    """
    window = requests.filter(pc.equal(requests["phase"], "window"))
    kept = pc.is_null(window["error"])
    for column, limit in limits_ms.items():
        values = _longest(window[column]) if column == "itl_ms" else window[column]
        within = pc.less_equal(values, limit)
        untold = column in {"itl_ms", "tpot_ms"}
        kept = pc.and_(kept, pc.fill_null(within, untold))
    count = pc.sum(kept).as_py() or 0
    start, end = window_s
    share = count / window.num_rows if window.num_rows else None
    return Goodput(count / (end - start), share)


def _longest(gaps: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give each list's greatest value; null for an empty or absent one."""
    combined = gaps.combine_chunks()
    rows = pc.list_parent_indices(combined)
    table = pa.table({"row": rows, "gap": pc.list_flatten(combined)})
    longest = table.group_by("row").aggregate([("gap", "max")])
    places = pa.table({"row": pa.array(range(len(combined)), rows.type)})
    return places.join(longest, "row").sort_by("row")["gap_max"]
