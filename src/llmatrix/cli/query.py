"""``llmatrix query``: a question to an experiment's tables, in SQL."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable
from typing import Any, Final, Literal

import click

_UNBROKEN: Final = 24
"""Cells up to this many characters are not broken, however narrow the terminal."""


@click.command("query")
@click.argument("sql", required=False, metavar="[SQL]")
@click.argument("place", required=False, default="results", metavar="[DIR]")
@click.option("--columns", is_flag=True, help="Tell every column, its type, unit and meaning.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV, not a table.")
@click.option("--json", "form", flag_value="json", help="Print JSON: a list of one object a row.")
def command(
    sql: str | None, place: str, form: Literal["csv", "json"] | None, *, columns: bool
) -> None:
    """Ask an experiment's tables `trials` and `requests` in SQL.

    DIR is an experiment's folder or URL, such as results/quickstart or s3://bucket/quickstart, or
    a store with one experiment; default: results/. The SQL is DuckDB's and can only read. With
    --columns, the only argument is DIR. A factor's name has dots, so it stands in double quotes:

      llmatrix query 'SELECT "stack.router.config" AS router, avg(ttft_ms_p50) FROM trials
      WHERE valid GROUP BY router' results/quickstart
    """
    from llmatrix.results.places import find_experiment  # noqa: PLC0415 - not for --help
    from llmatrix.results.query import query  # noqa: PLC0415
    from llmatrix.results.trials_index import open_tables  # noqa: PLC0415

    if columns:
        place, sql = sql or place, None
    elif sql is None:
        raise click.UsageError("give a question, such as 'SELECT * FROM trials', or --columns")
    tables = open_tables(*find_experiment(place, command="llmatrix query SQL"))
    if sql is None:
        from llmatrix.results.data_dictionary import describe  # noqa: PLC0415 - only here

        told = [(c.table, c.name, c.type, c.unit, c.meaning) for c in describe(tables)]
        _print(form, ("table", "column", "type", "unit", "meaning"), told)
        return
    answer = query(tables, sql)
    _print(form, answer.columns, answer.rows)
    for problem in tables.problems:
        click.echo(f"warning: {problem}", err=True)


def _print(form: str | None, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)
    elif form == "json":
        found = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
        click.echo(json.dumps(found, indent=1, allow_nan=False, default=str))
    else:
        _print_table(columns, rows)


def _print_table(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 50 ms that --json does not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = list(rows)
    shown = [[_shown(value) for value in row] for row in rows]
    table = Table(header_style="bold")
    for index, heading in enumerate(columns):
        figures = any(isinstance(row[index], int | float) for row in rows)
        longest = max((len(row[index]) for row in shown), default=0)
        table.add_column(
            Text(heading),
            justify="right" if figures else "left",
            overflow="fold",
            min_width=min(longest, _UNBROKEN),
        )
    for row in shown:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"  # noqa: PLR2004 - readable
    return "" if value is None else str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(_plain(value), default=str)
    return value


def _plain(value: Any) -> Any:
    """Make what JSON has: no NaN or infinity, keys of text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
