"""Rows of a trial whose figures are known by construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from llmatrix.columns import REQUEST_COLUMNS, arrow_schema

Rows = Callable[..., pa.Table]


def row(number: int, scheduled_s: float, **changes: Any) -> dict[str, Any]:
    """A request that was answered: first token after 50 ms, then 10 tokens 10 ms apart."""
    first, tokens, gap = scheduled_s + 0.05, 10, 0.01
    given: dict[str, Any] = {
        "request": number,
        "phase": "window",
        "scheduled_s": scheduled_s,
        "sent_s": scheduled_s,
        "first_token_s": first,
        "last_token_s": first + (tokens - 1) * gap,
        "end_s": first + (tokens - 1) * gap,
        "ttft_ms": 50.0,
        "ttft_from_send_ms": 50.0,
        "tpot_ms": 10.0,
        "e2e_ms": 140.0,
        "itl_ms": [10.0] * (tokens - 1),
        "prompt_tokens_asked": 100,
        "prompt_tokens": 100,
        "cached_tokens": 25,
        "output_tokens_asked": tokens,
        "output_tokens": tokens,
        "chunks": tokens,
        "status": 200,
        "server": "a",
    }
    return dict.fromkeys(REQUEST_COLUMNS) | given | changes


@pytest.fixture
def rows() -> Rows:
    """Make a table of requests scheduled at the given seconds, each changed by ``change(n)``."""

    def make(
        scheduled: Sequence[float], change: Callable[[int], dict[str, Any]] | None = None
    ) -> pa.Table:
        made = [
            row(number, at, **(change(number) if change else {}))
            for number, at in enumerate(scheduled)
        ]
        return pa.Table.from_pylist(made, schema=arrow_schema(REQUEST_COLUMNS))

    return make
