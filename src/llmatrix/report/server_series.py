"""What the servers and the router said of themselves during each trial, as a few figures over time.

Gauges are averaged over short bins of time; counters become rates between two scrapes, and the
ratio of two counters' growth. The names are those that the servers' makers publish.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import duckdb
import pyarrow as pa
from pyarrow import parquet

from llmatrix.errors import StoreFault
from llmatrix.report.summary import Summary
from llmatrix.results.store import Store, side_by_side

SERVER: Final = "server.parquet"
MOST_POINTS: Final = 200_000
"""Values of all series that a page holds; 5 bytes each."""
MOST_TRIALS: Final = 400
"""Trials above which only one of each treatment is read, a valid one where there is one."""
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
    Source(
        "Queue of the pool",
        "",
        "gauge",
        ("inference_pool_average_queue_size", "llm_d_epp_average_queue_size"),
    ),
    Source(
        "KV cache of the pool",
        "share",
        "gauge",
        (
            "inference_pool_average_kv_cache_utilization",
            "llm_d_epp_average_kv_cache_utilization",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Series:
    """What one server said in one trial.

    Attributes:
        server: who.
        at_s: seconds from the first scheduled request, rising.
        values: by the place in ``SOURCES``: a value for each moment; None where it was not told.
    """

    server: str
    at_s: tuple[float, ...]
    values: dict[int, tuple[float | None, ...]]


def server_series(summary: Summary) -> dict[str, list[Series]]:
    """Give what the servers of every trial said of what ``SOURCES`` knows.

    Trials whose ``server.parquet`` is missing or torn have none.

    Raises:
        duckdb.Error: DuckDB cannot read a file that looks whole.
    """
    data = summary.dataset
    records = [record for record in data.records if SERVER in record.files]
    if len(records) > MOST_TRIALS:
        chosen = {(t.valid or t.trials)[0].trial for t in summary.treatments}
        records = [record for record in records if record.trial in chosen]
    sizes = {record.trial: record.files[SERVER].bytes for record in records}
    with duckdb.connect() as connection:
        connection.register("meanings", _meanings())
        read = _remote if data.store.parallel > 1 else _local
        if not sizes or not read(connection, data.store, data.experiment, sizes):
            return {}
        connection.execute(_ADDED)
        lines = connection.execute(_LINES).fetchall()[0][0]
        fewest, most = BINS
        bins = max(fewest, min(most, MOST_POINTS // max(1, int(lines))))
        rows = connection.execute(_BINNED, [bins]).fetchall()
    found: dict[tuple[str, str], dict[float, dict[int, tuple[float, float]]]] = {}
    for trial, source, server, place, at, value in rows:
        found.setdefault((trial, server), {}).setdefault(place, {})[source] = (at, value)
    series: dict[str, list[Series]] = defaultdict(list)
    for (trial, server), bins_of in found.items():
        series[trial].append(_series(server, [bins_of[place] for place in sorted(bins_of)]))
    return dict(series)


def _series(server: str, bins: Sequence[dict[int, tuple[float, float]]]) -> Series:
    sources = sorted({source for each in bins for source in each})
    return Series(
        server=server,
        at_s=tuple(min(at for at, _ in each.values()) for each in bins),
        values={s: tuple(each[s][1] if s in each else None for each in bins) for s in sources},
    )


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

_LINES: Final = "SELECT count(DISTINCT (trial, source, server)) FROM points"

_BINNED: Final = """
WITH ends AS (SELECT trial, min(at_s) AS first, max(at_s) AS last FROM points GROUP BY trial),
placed AS (
  SELECT points.*, floor((at_s - first) / greatest(last - first, 1e-9) * $1 * 0.999999) AS bin
  FROM points JOIN ends USING (trial)
)
SELECT trial, source, server, bin, avg(at_s), avg(value) FROM placed
WHERE isfinite(value) GROUP BY trial, source, server, bin ORDER BY trial, server, bin, source
"""


def _meanings() -> pa.Table:
    rows = [
        {"metric": metric, "source": place, "kind": source.kind, "part": part}
        for place, source in enumerate(SOURCES)
        for each in source.metrics
        for part, metric in enumerate((each,) if isinstance(each, str) else each)
    ]
    return pa.Table.from_pylist(rows)


def _local(
    connection: duckdb.DuckDBPyConnection, store: Store, experiment: str, sizes: Mapping[str, int]
) -> bool:
    """Let DuckDB read a folder's files itself; give whether there is any."""
    whole: dict[str, str] = {}
    for trial, size in sizes.items():
        with contextlib.suppress(KeyError, OSError):
            path = store.local(f"{experiment}/{trial}/{SERVER}")
            if path.stat().st_size == size:
                whole[trial] = str(path)
    if whole:
        places = pa.table({"trial": [*whole], "filename": [*whole.values()]})
        connection.register("places", places)
        connection.read_parquet([*whole.values()], filename=True).create_view("files")
        connection.execute(
            "CREATE VIEW scraped AS SELECT trial, files.* FROM files JOIN places USING (filename)"
        )
    return bool(whole)


def _remote(
    connection: duckdb.DuckDBPyConnection, store: Store, experiment: str, sizes: Mapping[str, int]
) -> bool:
    """Fetch what is needed of an object store's files, many at once; give whether there is any."""
    wanted = _meanings()["metric"].to_pylist()

    def read(trial: str) -> pa.Table | None:
        try:
            with store.open(f"{experiment}/{trial}/{SERVER}") as file:
                table = parquet.read_table(
                    file, columns=[*COLUMNS], filters=[("metric", "in", wanted)]
                )
        except (KeyError, OSError, StoreFault, pa.ArrowException):
            return None  # a picture less; the records stand without it
        return table.append_column("trial", pa.array([trial] * table.num_rows, pa.string()))

    tables = [table for table in side_by_side(store, sizes, read) if table is not None]
    if tables:
        connection.register("scraped", pa.concat_tables(tables))
    return bool(tables)
