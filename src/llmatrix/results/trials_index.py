"""The table ``trials`` of a folder's experiment, remembered until a record changes.

Reading 10,000 records takes seconds, asking whether they changed a tenth of one. So the table that
was made of them is kept on this machine with a stamp of all of them: name, size, time of change
and inode of every ``record.json`` and ``failure.json`` (records are replaced as whole files, so a
new one has another inode). The memory may be removed at any time; nothing but time is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmatrix import __version__
from llmatrix.results.object_cache import cache_folder
from llmatrix.results.store import Store
from llmatrix.results.tables import Tables

if TYPE_CHECKING:
    import pyarrow as pa

WORTH_IT: Final = 500
"""Records from which remembering saves more than it costs."""
_FORMAT: Final = 2
_KEY: Final = b"llmatrix"
_EVIDENCE: Final = ("record.json", "failure.json")


def open_tables(store: Store, experiment: str) -> Tables:
    """Give an experiment's tables, from memory where no record has changed since.

    Raises:
        StoreFault: the store itself cannot be read.
    """
    stamp = _stamp(store, experiment)
    path = cache_folder() / "trials" / f"{_name(store, experiment)}.arrow"
    if stamp is not None and (remembered := _read(path, stamp, store, experiment)) is not None:
        return remembered
    from llmatrix.results.dataset import read_tables  # noqa: PLC0415 - 0.1 s that memory saves

    tables = read_tables(store, experiment)
    # Whoever finds this stamp again knows that nothing has changed since it was taken, so neither
    # while this was read.
    if stamp and tables.trials.num_rows >= WORTH_IT:
        with contextlib.suppress(OSError):  # no room, no right to write: the next one reads again
            _write(path, stamp, tables)
    return tables


def _stamp(store: Store, experiment: str) -> str | None:
    """Give what changes with any record; None where only reading them all would tell."""
    if store.parallel > 1:
        return None
    folder = Path(store.url) / experiment
    told = [f"{_FORMAT} {__version__}"]
    try:
        with os.scandir(folder) as found:
            trials = sorted(entry.name for entry in found)
        names = [f"{trial}/{file}" for trial in trials for file in _EVIDENCE]
        for name in ("experiment.json", *names):
            try:
                at = os.stat(f"{folder}/{name}")  # noqa: PTH116 - thrice as quick
            except (FileNotFoundError, NotADirectoryError):
                continue
            told.append(f"{name!r} {at.st_size} {at.st_mtime_ns} {at.st_ino}")
    except OSError:
        return None
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest()


def _name(store: Store, experiment: str) -> str:
    place = f"{store.url}\n{experiment}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(place).hexdigest()[:32]


def _read(path: Path, stamp: str, store: Store, experiment: str) -> Tables | None:
    import pyarrow as pa  # noqa: PLC0415 - costs 0.1 s, not every command reads tables
    from pyarrow import ipc  # noqa: PLC0415

    try:
        with pa.memory_map(str(path)) as file:
            table = ipc.open_file(file).read_all()
        told = json.loads(table.schema.metadata[_KEY])
        if told["stamp"] != stamp:
            return None
        return Tables(
            store=store,
            experiment=experiment,
            trials=table.replace_schema_metadata(None),
            factors=tuple(told["factors"]),
            request_bytes=told["request_bytes"],
            problems=tuple(told["problems"]),
        )
    except (OSError, pa.ArrowInvalid, ValueError, KeyError, TypeError):
        return None  # never written, torn, or of another version: read the records


def _write(path: Path, stamp: str, tables: Tables) -> None:
    told = {
        "stamp": stamp,
        "factors": tables.factors,
        "request_bytes": tables.request_bytes,
        "problems": tables.problems,
    }
    table: pa.Table = tables.trials.replace_schema_metadata({_KEY: json.dumps(told)})
    from pyarrow import ipc  # noqa: PLC0415 - see _read

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with ipc.new_file(str(part), table.schema) as file:
            file.write_table(table)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
