"""The files that a run leaves: ``requests.parquet`` and ``server.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmatrix.columns import REQUEST_COLUMNS, SERVER_COLUMNS, arrow_schema
from llmatrix.harness.native.answer import Exchange
from llmatrix.harness.native.metrics_text import Row
from llmatrix.harness.native.orders import Orders


def write_requests(
    path: Path, exchanges: Sequence[Exchange], orders: Orders, zero: int, secret: str | None
) -> None:
    """Write one row per request; the secret is blotted out of what a server echoed."""
    found: dict[str, list[Any]] = {column: [] for column in REQUEST_COLUMNS if column != "itl_ms"}
    for exchange in exchanges:
        for column, value in _row(exchange, orders, zero, secret).items():
            found[column].append(value)
    gaps = [np.diff(np.frombuffer(e.stamps, dtype=np.int64)) / 1e6 for e in exchanges]
    starts = np.concatenate([[0], np.cumsum([len(gap) for gap in gaps])]).astype(np.int32)
    values = np.concatenate([np.empty(0), *gaps]).astype(np.float32)
    schema = arrow_schema(REQUEST_COLUMNS)
    columns = {
        column: pa.array(cells, type=schema.field(column).type) for column, cells in found.items()
    }
    columns["itl_ms"] = pa.ListArray.from_arrays(pa.array(starts), pa.array(values))
    pq.write_table(
        pa.table([columns[name] for name in schema.names], schema=schema), path, compression="zstd"
    )


def _row(exchange: Exchange, orders: Orders, zero: int, secret: str | None) -> dict[str, Any]:
    """Give every column but the gaps."""
    stamps = exchange.stamps
    first = stamps[0] if stamps else None
    last = stamps[-1] if stamps else None
    tokens = exchange.output_tokens
    tokens = len(stamps) if tokens is None else tokens
    detail = exchange.detail
    return {
        "request": exchange.number,
        "phase": exchange.phase,
        "group": exchange.group,
        "scheduled_s": _seconds(exchange.scheduled, zero),
        "sent_s": _seconds(exchange.sent, zero),
        "first_token_s": _seconds(first, zero),
        "last_token_s": _seconds(last, zero),
        "end_s": _seconds(exchange.end, zero),
        "ttft_ms": _ms(exchange.scheduled, first),
        "ttft_from_send_ms": _ms(exchange.sent, first),
        "tpot_ms": (stamps[-1] - stamps[0]) / 1e6 / (tokens - 1) if stamps and tokens > 1 else None,
        "e2e_ms": _ms(exchange.scheduled, last),
        "prompt_tokens_asked": orders.prompt_len,
        "prompt_tokens": exchange.prompt_tokens,
        "cached_tokens": exchange.cached_tokens,
        "output_tokens_asked": orders.output_len,
        "output_tokens": tokens,
        "chunks": len(stamps),
        "status": exchange.status,
        "server": exchange.server,
        "error": exchange.error,
        "error_detail": detail.replace(secret, "***") if detail and secret else detail,
    }


def _seconds(moment: int | None, zero: int) -> float | None:
    return None if moment is None else (moment - zero) / 1e9


def _ms(begin: int | None, end: int | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / 1e6


def write_server(path: Path, rows: Sequence[Row]) -> None:
    """Write one row per sample of a scrape."""
    schema = arrow_schema(SERVER_COLUMNS)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
    pq.write_table(pa.table(arrays, schema=schema), path, compression="zstd")
