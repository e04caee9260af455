"""The columns of ``requests.parquet`` and ``server.parquet``, as the readers of records know them.

They are defined in ``llmatrix.columns``, below both the harnesses that write them and this package.
"""

from llmatrix.columns import REQUEST_COLUMNS, SERVER_COLUMNS, arrow_schema

__all__ = ["REQUEST_COLUMNS", "SERVER_COLUMNS", "arrow_schema"]
