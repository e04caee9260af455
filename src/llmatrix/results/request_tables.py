"""The table ``requests``: every trial's ``requests.parquet`` as one, read where it lies.

From a folder DuckDB reads the files itself. From an object store they are read through the
store, and only the ranges of bytes that hold the columns which a query names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from llmatrix.columns import REQUEST_COLUMNS, arrow_schema
from llmatrix.results.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from llmatrix.results.trial_row import Measured

REQUESTS: Final = "requests.parquet"
_RANGE_BYTES: Final = 64 * 1024
"""Enough for the index of a file, so that most need one call before their columns."""
_MARK: Final = b"PAR1"
_MARK_BYTES: Final = 512
_LEFT_OUT: Final = "pictures of requests leave the trial out"


def find_requests(
    store: Store, experiment: str, trials: Mapping[str, int | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the trials whose requests can be read, and a clear sentence for each other one.

    Args:
        store: where the files are.
        experiment: whose they are.
        trials: for each, the bytes that its record says; None where it says nothing.
    """
    sizes = _sizes(store, experiment, trials)
    whole, problems = [], []
    for trial, stored in trials.items():
        name = f"{experiment}/{trial}/{REQUESTS}"
        problem = _problem(store, name, stored, sizes.get(name))
        if problem:
            problems.append(f"{store.url}/{name}: {problem}; {_LEFT_OUT}")
        else:
            whole.append(trial)
    return tuple(whole), tuple(problems)


def request_bytes(records: Iterable[Measured]) -> dict[str, int | None]:
    """Give for each trial how many bytes of requests its record says that there are."""
    stored = ((record.trial, record.files.get(REQUESTS)) for record in records)
    return {trial: None if file is None else file.bytes for trial, file in stored}


def add_requests(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    experiment: str,
    trials: Sequence[str],
    *,
    mixed: bool = False,
) -> None:
    """Add the table ``requests`` of these trials; it begins with the column ``trial``.

    Args:
        connection: to add it to.
        store: where the files are.
        experiment: whose they are.
        trials: of ``find_requests``, the oldest first.
        mixed: whether their columns may differ; then the index of every file is read at once,
            which takes seconds for thousands. Otherwise those of the oldest and the newest tell,
            and a query that meets another file without one of the columns ends with DuckDB's
            ``InvalidInputException``.
    """
    import pyarrow as pa  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

    if not trials:
        schema = pa.schema([("trial", pa.string()), *arrow_schema(REQUEST_COLUMNS)])
        connection.register("requests", schema.empty_table())
    elif store.parallel > 1:
        connection.register("requests", _remote(store, experiment, trials))
    else:
        paths = [str(store.local(f"{experiment}/{trial}/{REQUESTS}")) for trial in trials]
        mixed = mixed or _columns(paths[0]) != _columns(paths[-1])
        connection.read_parquet(paths, filename=True, union_by_name=mixed).create_view(
            "request_rows"
        )
        # The trial is the folder's name; being made of the file's name alone, a condition on it
        # keeps DuckDB from opening the files of other trials.
        connection.execute(
            "CREATE VIEW requests AS SELECT split_part(filename, '/', -2) AS trial, "
            "* EXCLUDE (filename) FROM request_rows"
        )


def _columns(path: str) -> list[str]:
    from pyarrow import parquet  # noqa: PLC0415 - costs 0.1 s, not every command reads tables

    names: list[str] = parquet.read_schema(path).names
    return names


def _sizes(store: Store, experiment: str, trials: Iterable[str]) -> dict[str, int]:
    """Give the size of every file of the experiment, by one listing where calls are dear."""
    if store.parallel > 1:
        return store.sizes(f"{experiment}/")
    sizes = {}
    for trial in trials:
        name = f"{experiment}/{trial}/{REQUESTS}"
        try:
            sizes[name] = store.local(name).stat().st_size
        except (KeyError, OSError):
            continue
    return sizes


def _problem(store: Store, name: str, stored: int | None, size: int | None) -> str | None:
    if size is None:
        return "is missing"
    if stored is not None and stored != size:
        return f"has {size} bytes where its record says {stored}"
    if store.parallel == 1 and not _is_parquet(store, name):
        return "is no whole Parquet file"
    return None


def _is_parquet(store: Store, name: str) -> bool:
    """Tell whether a file begins and ends as Parquet does: it may have been damaged in place.

    The index itself is not read: of thousands of files that takes seconds.
    """
    try:
        with store.open(name, buffer_bytes=_MARK_BYTES) as file:
            begins = file.read(len(_MARK))
            file.seek(-len(_MARK), os.SEEK_END)
            return begins == file.read(len(_MARK)) == _MARK
    except (KeyError, OSError):
        return False


def _remote(store: Store, experiment: str, trials: Sequence[str]) -> Any:
    """Make an Arrow dataset of the trials' files; ``trial`` comes from the name of the folder."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import dataset, fs  # noqa: PLC0415

    by_trial = pa.schema([("trial", pa.string())])
    handler = _handler(store)
    return dataset.dataset(
        [f"{experiment}/{trial}/{REQUESTS}" for trial in trials],
        schema=pa.schema([*by_trial, *arrow_schema(REQUEST_COLUMNS)]),
        format="parquet",
        filesystem=fs.PyFileSystem(handler),
        partitioning=dataset.DirectoryPartitioning(by_trial),
        partition_base_dir=experiment,
    )


def _handler(store: Store) -> Any:
    """Make what Arrow opens a store's files with; it can only read."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import fs  # noqa: PLC0415

    def open_file(self: Any, path: str) -> pa.PythonFile:
        del self
        return pa.PythonFile(_opened(store, path), mode="r")

    def info(self: Any, paths: list[str]) -> list[Any]:
        del self
        return [fs.FileInfo(path, fs.FileType.File) for path in paths]

    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} can only open files")

    able = {
        "get_type_name": lambda _: "llmatrix-store",
        "normalize_path": lambda _, path: path,
        "open_input_file": open_file,
        "open_input_stream": open_file,
        "get_file_info": info,
    }
    others = {n: refuse for n in fs.FileSystemHandler.__abstractmethods__ if n not in able}
    return type("StoreFiles", (fs.FileSystemHandler,), {**others, **able})()


def _opened(store: Store, name: str) -> BinaryIO:
    try:
        return store.open(name, buffer_bytes=_RANGE_BYTES)
    except KeyError:
        raise FileNotFoundError(f"{store.url}/{name}") from None
