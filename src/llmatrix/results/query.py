"""Questions to a dataset in SQL: read only, and nothing but the dataset in reach."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmatrix.errors import StoreFault, UserError
from llmatrix.results.tables import Tables

if TYPE_CHECKING:
    import duckdb

_LOCKS: Final = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""After these, SQL reaches no file (but those allowed before), network, extension or variable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave: names of columns, their DuckDB types, and rows of Python values."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(tables: Tables, sql: str) -> Answer:
    """Ask one question of the tables ``trials`` and ``requests``.

    Raises:
        UserError: it is no single reading statement, or cannot be answered; DuckDB's reason.
        StoreFault: a file of the dataset cannot be read.
    """
    import duckdb  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

    needs_requests = _names_requests(sql)
    try:
        return _answer(tables, sql, requests=needs_requests, mixed=False)
    except duckdb.InvalidInputException:
        # Files of different versions: some have columns that others lack.
        return _answer(tables, sql, requests=needs_requests, mixed=True)


def _answer(tables: Tables, sql: str, *, requests: bool, mixed: bool) -> Answer:
    import duckdb  # noqa: PLC0415 - see query

    with connect_locked(tables, requests=requests, mixed=mixed) as connection:
        _check_reads(connection, sql)
        try:
            found = connection.execute(sql)
            described = found.description or []
            rows = tuple(found.fetchall())
        except duckdb.PermissionException as error:
            raise UserError(
                f"the query may only read the tables trials and requests: {_reason(error)}"
            ) from None
        except (duckdb.IOException, OSError) as error:
            raise StoreFault(f"{tables.store.url}: cannot be read: {_reason(error)}") from error
        except duckdb.Error as error:
            if requests and not mixed and isinstance(error, duckdb.InvalidInputException):
                raise
            raise UserError(f"the query cannot be answered: {_reason(error)}") from None
    return Answer(
        columns=tuple(str(column[0]) for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=rows,
    )


def connect_locked(
    tables: Tables, *, requests: bool = True, mixed: bool = True
) -> duckdb.DuckDBPyConnection:
    """Open the tables so that SQL can read their files and nothing else."""
    connection = tables.connect(requests=requests, mixed=mixed)
    if tables.store.parallel == 1:
        folder = f"{tables.store.url}/{tables.experiment}/".replace("'", "''")
        connection.execute(f"SET allowed_directories = ['{folder}']")
    for lock in _LOCKS:
        connection.execute(lock)
    return connection


def _names_requests(sql: str) -> bool:
    """Tell whether ``requests`` may be meant; finding the files of many trials takes seconds."""
    return (
        re.search(r"requests|information_schema|duckdb_|show|describe", sql, re.IGNORECASE)
        is not None
    )


def _check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb  # noqa: PLC0415 - see query

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UserError(f"the query is no SQL that DuckDB reads: {_reason(error)}") from None
    if len(statements) != 1:
        raise UserError(f"one question at a time: there are {len(statements)} statements")
    kind = statements[0].type.name
    # An EXPLAIN ANALYZE carries out what it explains, so it is none of the reading kinds.
    if kind != "SELECT":
        raise UserError(
            f"the query would do something else than read ({kind}); only SELECT is answered, and "
            f"`llmatrix export` writes files"
        )


def _reason(error: BaseException) -> str:
    """Give DuckDB's message without the name of its class, its candidates kept, on one line."""
    text = str(error).partition("\n\nLINE ")[0]
    return " ".join(text.split()).removesuffix(".")
