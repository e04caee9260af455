"""The requests of an experiment, read once for everything that the page draws of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import duckdb

from llmatrix.report.summary import Summary

_READ = """
CREATE TEMP TABLE drawn_rows AS
SELECT trial, request, phase, scheduled_s, ttft_ms, tpot_ms, e2e_ms, server, error IS NULL AS whole,
  coalesce(chunks, output_tokens) AS events,
  error IS NOT NULL AND NOT (error = 'aborted' AND phase = 'drain') AS failed
FROM requests
"""
"""That the end of a trial cut a request of the drain off is no failure."""


@contextlib.contextmanager
def request_rows(summary: Summary) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with the table ``drawn_rows`` beside ``requests`` and ``trials``.

    Raises:
        duckdb.Error: the requests cannot be read.
    """
    with summary.dataset.connect() as connection:
        connection.execute(_READ)
        yield connection
