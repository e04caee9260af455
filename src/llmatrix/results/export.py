"""A table of the dataset as one Parquet or CSV file, for other programs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal

from llmatrix.errors import StoreFault
from llmatrix.results.dataset import Dataset

Form = Literal["parquet", "csv"]


def export(dataset: Dataset, table: Literal["trials", "requests"], form: Form, path: Path) -> int:
    """Write a table, whole or not at all, and give how many rows it has.

    In CSV a list (``itl_ms``) is text such as ``[1.5, 2.0]``, and null is an empty field.

    Raises:
        StoreFault: the dataset cannot be read, or the file not written.
    """
    import duckdb  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

    how = "FORMAT parquet, COMPRESSION zstd" if form == "parquet" else "FORMAT csv, HEADER"
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    target = str(part).replace("'", "''")
    try:
        with dataset.connect(requests=table == "requests") as connection:
            # Both names are this module's own, and the path is quoted as SQL quotes.
            written = connection.execute(f"COPY (FROM {table}) TO '{target}' ({how})").fetchall()
        part.replace(path)
    except (duckdb.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreFault(f"the table {table} could not be written to {path}: {reason}") from error
    finally:
        part.unlink(missing_ok=True)
    return int(written[0][0])
