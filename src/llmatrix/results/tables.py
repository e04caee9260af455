"""An experiment as SQL sees it: the tables ``trials`` and ``requests``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmatrix.results.request_tables import add_requests, find_requests
from llmatrix.results.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Tables:
    """The table of the trials, and where their requests are.

    Attributes:
        store: where it was read from.
        experiment: its name.
        trials: the table.
        factors: every factor's path; each is a column of it.
        request_bytes: for each trial, the oldest first, what its record says of its requests.
        problems: what could not be read, a clear sentence each.
    """

    store: Store
    experiment: str
    trials: pa.Table
    factors: tuple[str, ...]
    request_bytes: dict[str, int | None]
    problems: tuple[str, ...]

    def connect(self, *, requests: bool = True, mixed: bool = True) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB connection with the tables ``trials`` and, if wanted, ``requests``.

        Trials whose ``requests.parquet`` is missing or torn are not in ``requests``;
        ``Dataset.request_problems`` says which. Only the columns that a query names are read.
        ``mixed`` is that of ``request_tables.add_requests``.
        """
        import duckdb  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

        connection = duckdb.connect()
        connection.register("trials", self.trials)
        if requests:
            whole, _ = find_requests(self.store, self.experiment, self.request_bytes)
            add_requests(connection, self.store, self.experiment, whole, mixed=mixed)
        return connection
