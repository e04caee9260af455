"""Tables of requests that nobody sent, made from drawn latencies, for tests and benchmarks."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from llmatrix.columns import REQUEST_COLUMNS, arrow_schema

Figures = np.ndarray[Any, np.dtype[Any]]


def request_table(
    scheduled_s: Figures, ttft_ms: Figures, gaps_ms: Figures, *, window_from_s: float, **more: Any
) -> pa.Table:
    """Make the table of requests that were sent when they should be, and all answered.

    Args:
        scheduled_s: when each was to be sent, seconds; shape (requests,).
        ttft_ms: milliseconds to the first token; shape (requests,).
        gaps_ms: milliseconds between tokens; shape (requests, tokens - 1).
        window_from_s: requests that were to be sent before this are warm-up.
        more: further columns by name, each of shape (requests,).
    """
    count, gaps = gaps_ms.shape
    end_s = scheduled_s + ttft_ms / 1000 + gaps_ms.sum(axis=1) / 1000
    columns = {
        "request": np.arange(count),
        "phase": np.where(scheduled_s < window_from_s, "warmup", "window"),
        "scheduled_s": scheduled_s,
        "sent_s": scheduled_s,
        "first_token_s": scheduled_s + ttft_ms / 1000,
        "last_token_s": end_s,
        "end_s": end_s,
        "ttft_ms": ttft_ms,
        "ttft_from_send_ms": ttft_ms,
        "tpot_ms": gaps_ms.mean(axis=1),
        "e2e_ms": ttft_ms + gaps_ms.sum(axis=1),
        "itl_ms": list(gaps_ms),
        "output_tokens": np.full(count, gaps + 1),
        "status": np.full(count, 200),
        **more,
    }
    schema = arrow_schema(REQUEST_COLUMNS)
    arrays = [
        pa.array(columns[name], type=kind) if name in columns else pa.nulls(count, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def parquet_bytes(table: pa.Table) -> bytes:
    """Give a table as the content of a Parquet file."""
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()
