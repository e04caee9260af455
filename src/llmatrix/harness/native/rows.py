"""The files that a run leaves: ``requests.parquet`` and ``server.parquet``, written in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmatrix.columns import REQUEST_COLUMNS, SERVER_COLUMNS, arrow_schema
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.metrics_text import Row

_REQUESTS_AT_ONCE: Final = 16_384
_SAMPLES_AT_ONCE: Final = 262_144


def write_requests(path: Path, exchanges: Iterable[Exchange], zero: int, *, streamed: bool) -> None:
    """Write one row per request; ``zero`` is that of the times, in monotonic ns."""
    schema = arrow_schema(REQUEST_COLUMNS)
    remaining = iter(exchanges)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(remaining, _REQUESTS_AT_ONCE):
            writer.write_table(_requests(batch, schema, zero, streamed=streamed))


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Cut into lists; an empty one where there is nothing."""
    batch = list(islice(items, size))
    yield batch
    while batch := list(islice(items, size)):
        yield batch


def _requests(
    exchanges: Sequence[Exchange], schema: pa.Schema, zero: int, *, streamed: bool
) -> pa.Table:
    found: dict[str, list[Any]] = {column: [] for column in REQUEST_COLUMNS if column != "itl_ms"}
    for exchange in exchanges:
        for column, value in _row(exchange, zero, streamed=streamed).items():
            found[column].append(value)
    gaps = [np.diff(np.frombuffer(e.stamps, dtype=np.int64)) / 1e6 for e in exchanges]
    starts = np.concatenate([[0], np.cumsum([len(gap) for gap in gaps])]).astype(np.int32)
    values = np.concatenate([np.empty(0), *gaps]).astype(np.float32)
    columns = {
        column: pa.array(cells, type=schema.field(column).type) for column, cells in found.items()
    }
    columns["itl_ms"] = pa.ListArray.from_arrays(pa.array(starts), pa.array(values))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _row(exchange: Exchange, zero: int, *, streamed: bool) -> dict[str, Any]:
    """Give every column but the gaps; an answer that is not streamed has an end only."""
    stamps = exchange.stamps
    first = stamps[0] if stamps else None
    last = stamps[-1] if stamps else None
    tokens = exchange.output_tokens
    tokens = len(stamps) if tokens is None and streamed else tokens
    paced = stamps and streamed and tokens is not None and tokens > 1
    return {
        "request": exchange.number,
        "phase": exchange.phase,
        "group": exchange.group,
        "turn": exchange.turn,
        "scheduled_s": _seconds(exchange.scheduled, zero),
        "sent_s": _seconds(exchange.sent, zero),
        "first_token_s": _seconds(first, zero),
        "last_token_s": _seconds(last, zero),
        "end_s": _seconds(exchange.end, zero),
        "ttft_ms": _ms(exchange.scheduled, first) if streamed else None,
        "ttft_from_send_ms": _ms(exchange.sent, first) if streamed else None,
        "tpot_ms": (stamps[-1] - stamps[0]) / 1e6 / (tokens - 1) if paced and tokens else None,
        "e2e_ms": _ms(exchange.scheduled, last),
        "prompt_tokens_asked": exchange.prompt_asked,
        "prompt_tokens": exchange.prompt_tokens,
        "cached_tokens": exchange.cached_tokens,
        "output_tokens_asked": exchange.output_asked,
        "output_tokens": tokens,
        "chunks": len(stamps),
        "status": exchange.status,
        "server": exchange.server,
        "error": exchange.error,
        "error_detail": exchange.detail,
    }


def _seconds(moment: int | None, zero: int) -> float | None:
    return None if moment is None else (moment - zero) / 1e9


def _ms(begin: int | None, end: int | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / 1e6


def write_server(path: Path, rows: Iterable[Row]) -> None:
    """Write one row per sample of a scrape."""
    schema = arrow_schema(SERVER_COLUMNS)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(iter(rows), _SAMPLES_AT_ONCE):
            columns = list(zip(*batch, strict=True)) or [()] * len(schema)
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))
