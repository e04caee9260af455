"""What the servers and the router said of themselves during each trial, as a few figures over time.

Gauges are averaged over short bins of time; counters become rates between two scrapes, and the
ratio of two counters' growth. The names are those that the servers' makers publish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import duckdb
import pyarrow as pa
from pyarrow import parquet

from llmatrix.report.summary import Summary
from llmatrix.results.store import side_by_side

SERVER: Final = "server.parquet"
MOST_POINTS: Final = 150_000
"""Points of all series that a page holds; 6 bytes each."""
BINS: Final = (8, 60)
"""Fewest and most bins of time for each trial."""
COLUMNS: Final = ("at_s", "server", "metric", "value")


@dataclass(frozen=True, slots=True)
class Source:
    """One figure over time: its name, unit, and which exposed metrics tell it.

    Attributes:
        kind: ``gauge``: as exposed; ``rate``: growth a second; ``ratio``: growth of the first
            metric over that of the second.
        metrics: exposed names of the same meaning; for a ratio, pairs of them.
    """

    label: str
    unit: str
    kind: Literal["gauge", "rate", "ratio"]
    metrics: tuple[str, ...] | tuple[tuple[str, str], ...]


SOURCES: Final = (
    Source(
        "Requests running",
        "",
        "gauge",
        ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing"),
    ),
    Source(
        "Requests waiting",
        "",
        "gauge",
        ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"),
    ),
    Source(
        "KV cache in use",
        "share",
        "gauge",
        ("vllm:kv_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio"),
    ),
    Source(
        "Output tokens",
        "tok/s",
        "rate",
        ("vllm:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    ),
    Source("Prompt tokens", "tok/s", "rate", ("vllm:prompt_tokens_total",)),
    Source(
        "Prefix cache hits",
        "share",
        "ratio",
        (("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),),
    ),
    Source("Preemptions", "/s", "rate", ("vllm:num_preemptions_total",)),
    Source("Queue of the pool", "", "gauge", ("inference_pool_average_queue_size",)),
    Source(
        "KV cache of the pool", "share", "gauge", ("inference_pool_average_kv_cache_utilization",)
    ),
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line: of one server in one trial.

    Attributes:
        source: its place in ``SOURCES``.
        server: who said it.
        points: time in seconds from the first scheduled request, and value.
    """

    source: int
    server: str
    points: tuple[tuple[float, float], ...]


def server_series(summary: Summary) -> dict[str, list[Series]]:
    """Give the lines of every trial whose servers said anything that ``SOURCES`` knows.

    Trials whose ``server.parquet`` is missing or torn have none.

    Raises:
        duckdb.Error: DuckDB cannot make the lines of what was read.
    """
    scraped = _read(summary)
    if scraped is None:
        return {}
    with duckdb.connect() as connection:
        connection.register("scraped", scraped)
        connection.register("meanings", _meanings())
        connection.execute(_ADDED)
        count = connection.execute(
            "SELECT count(DISTINCT (trial, source, server)) FROM points"
        ).fetchall()[0][0]
        fewest, most = BINS
        bins = max(fewest, min(most, MOST_POINTS // max(1, int(count))))
        rows = connection.execute(_BINNED, [bins]).fetchall()
    found: dict[str, dict[tuple[int, str], list[tuple[float, float]]]] = defaultdict(dict)
    for trial, source, server, at, value in rows:
        found[trial].setdefault((source, server), []).append((at, value))
    return {
        trial: [Series(source, server, tuple(points)) for (source, server), points in lines.items()]
        for trial, lines in found.items()
    }


_ADDED: Final = """
CREATE TEMP TABLE points AS
WITH summed AS (
  SELECT trial, source, kind, part, server, at_s, sum(value) AS value
  FROM scraped JOIN meanings USING (metric) GROUP BY ALL
),
grown AS (
  SELECT *, value - lag(value) OVER line AS growth, at_s - lag(at_s) OVER line AS seconds
  FROM summed WINDOW line AS (PARTITION BY trial, source, part, server ORDER BY at_s)
)
SELECT trial, source, server, at_s, value FROM summed WHERE kind = 'gauge'
UNION ALL
SELECT trial, source, server, at_s, growth / seconds FROM grown
WHERE kind = 'rate' AND growth >= 0 AND seconds > 0
UNION ALL
SELECT trial, source, server, above.at_s, above.growth / below.growth
FROM grown above JOIN grown below USING (trial, source, server, at_s)
WHERE above.kind = 'ratio' AND above.part = 0 AND below.part = 1
  AND above.growth >= 0 AND below.growth > 0
"""
"""A counter that fell was reset by a restart; that gap has no rate."""

_BINNED: Final = """
WITH ends AS (SELECT trial, min(at_s) AS first, max(at_s) AS last FROM points GROUP BY trial),
placed AS (
  SELECT points.*, floor((at_s - first) / greatest(last - first, 1e-9) * $1 * 0.999999) AS bin
  FROM points JOIN ends USING (trial)
)
SELECT trial, source, server, avg(at_s), avg(value) FROM placed
WHERE isfinite(value) GROUP BY trial, source, server, bin ORDER BY trial, source, server, bin
"""


def _meanings() -> pa.Table:
    rows = [
        {"metric": metric, "source": place, "kind": source.kind, "part": part}
        for place, source in enumerate(SOURCES)
        for each in source.metrics
        for part, metric in enumerate((each,) if isinstance(each, str) else each)
    ]
    return pa.Table.from_pylist(rows)


def _read(summary: Summary) -> pa.Table | None:
    data = summary.dataset
    trials = [record.trial for record in data.records if SERVER in record.files]
    wanted: Sequence[str] = _meanings()["metric"].to_pylist()

    def read(trial: str) -> pa.Table | None:
        try:
            with data.store.open(f"{data.experiment}/{trial}/{SERVER}") as file:
                table = parquet.read_table(
                    file, columns=[*COLUMNS], filters=[("metric", "in", wanted)]
                )
        except (KeyError, OSError, pa.ArrowException):
            return None  # a picture less; the records stand without it
        return table.append_column("trial", pa.repeat(trial, table.num_rows))

    tables = [table for table in side_by_side(data.store, trials, read) if table is not None]
    return pa.concat_tables(tables) if tables else None
