"""Reading and writing what trials left behind; records of every version stay readable."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

import orjson
from pydantic import ValidationError

from llmatrix.errors import StoreFault
from llmatrix.plan.step import STACK_STEPS, Step
from llmatrix.results.record import Failure, Outcome, Record, StoredFile
from llmatrix.results.store import Store, side_by_side

READERS: Final[dict[int, Callable[[dict[str, Any]], Record]]] = {1: Record.model_validate}
"""For each version of ``record.json``, what makes a record of today out of its document."""
FAILURE_READERS: Final[dict[int, Callable[[dict[str, Any]], Failure]]] = {1: Failure.model_validate}

_REQUIRED: Final = {n for n, field in Record.model_fields.items() if field.is_required()}
_CHUNK_BYTES: Final = 1024 * 1024
T = TypeVar("T")


def record_name(experiment: str, trial: str) -> str:
    """Name a trial's record in the store."""
    return f"{experiment}/{trial}/record.json"


def failure_name(experiment: str, trial: str) -> str:
    """Name a trial's failure in the store."""
    return f"{experiment}/{trial}/failure.json"


def files_under(folder: Path) -> dict[str, Path]:
    """Give every file under ``folder`` by its relative name, as ``write_record`` takes them."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def write_record(store: Store, record: Record, files: Mapping[str, bytes | Path]) -> Record:
    """Keep a measured trial: its files first, ``record.json`` last, then drop its failure.

    An earlier record of the same trial goes before its files are replaced, so that a record
    never stands beside files that are not its own, whenever the writer is killed.

    Args:
        store: where to.
        record: what was measured; its ``files`` are replaced.
        files: names relative to the trial's folder, and their content.

    Returns:
        The record as written, with size and hash of every file.

    Raises:
        StoreFault: the store cannot take it; the trial does not count as finished.
    """
    folder = f"{record.experiment}/{record.trial}"
    name = record_name(record.experiment, record.trial)
    store.delete(name)
    stored = {}
    for file, content in files.items():
        stored[file] = _describe(content)
        store.put(f"{folder}/{file}", content)
    written = record.model_copy(update={"files": stored})
    amend_record(store, written)
    store.delete(failure_name(record.experiment, record.trial))
    return written


def amend_record(store: Store, record: Record) -> None:
    """Replace a record, its files staying as they are: what came after it is added.

    Raises:
        StoreFault: the store cannot take it; the record stays as it was.
    """
    name = record_name(record.experiment, record.trial)
    store.put(name, record.model_dump_json(indent=1).encode() + b"\n")


def write_failure(store: Store, failure: Failure) -> None:
    """Keep why a trial could not be measured.

    Raises:
        StoreFault: the store cannot take it.
    """
    name = failure_name(failure.experiment, failure.trial)
    store.put(name, failure.model_dump_json(indent=1).encode() + b"\n")


def finished(store: Store, experiment: str) -> set[str]:
    """Give the ids of all trials that have a whole record, without validating every figure.

    Each record is parsed and its identity compared, which takes tens of microseconds; one that
    is torn or not ours does not count, so its trial is measured again. One that a newer llmatrix
    wrote counts: measuring again would overwrite it.

    Raises:
        StoreFault: the store cannot be read.
    """
    trials = list(store.folders(f"{experiment}/"))
    told = side_by_side(store, trials, lambda trial: _is_finished(store, experiment, trial))
    return {trial for trial, is_finished in zip(trials, told, strict=True) if is_finished}


def untrusted(store: Store, experiment: str) -> set[str]:
    """Give the ids of the finished trials whose figures must not be trusted: a check failed.

    Raises:
        StoreFault: the store, or a record in it, cannot be read.
    """
    done = finished(store, experiment)
    return {trial for trial in done if not read_record(store, experiment, trial).valid}


def read_record(store: Store, experiment: str, trial: str) -> Record:
    """Read a trial's record, of whatever version.

    Raises:
        KeyError: the trial has none.
        StoreFault: it is torn, not ours or too new; the message says which and what to do.
    """
    name = record_name(experiment, trial)
    document = _document(store, name)
    record = _read(READERS, document, f"{store.url}/{name}")
    if (record.trial, record.experiment) != (trial, experiment):
        raise StoreFault(
            f"{store.url}/{name}: belongs to trial {record.trial} of '{record.experiment}', not "
            f"to the folder it lies in; move it back or delete it"
        )
    return record


def left_behind(store: Store, experiment: str, trial: str) -> Record | Failure | None:
    """Read a trial's record, or else why it failed; None where it left neither.

    Raises:
        StoreFault: what it left is torn, not ours or too new.
    """
    with contextlib.suppress(KeyError):
        return read_record(store, experiment, trial)
    with contextlib.suppress(KeyError):
        return read_failure(store, experiment, trial)
    return None


def applied_seconds(
    store: Store, experiment: str, *, most: int = 200
) -> dict[str, dict[Step, float]]:
    """Tell how long applied steps took in earlier trials: kind of stack → step → median seconds.

    At most ``most`` records are read; those that cannot be read tell nothing.
    """
    seconds: dict[tuple[str, Step], list[float]] = {}
    trials = islice(store.folders(f"{experiment}/"), most)
    for record in side_by_side(store, trials, lambda trial: _readable(store, experiment, trial)):
        if record is None:
            continue
        for each in record.steps:
            if each.outcome is Outcome.APPLIED and each.step in STACK_STEPS:
                kind = str(record.document["stack"]["kind"])
                seconds.setdefault((kind, each.step), []).append(each.seconds)
    told: dict[str, dict[Step, float]] = {}
    for (kind, step), found in seconds.items():
        told.setdefault(kind, {})[step] = median(found)
    return told


def _readable(store: Store, experiment: str, trial: str) -> Record | None:
    try:
        return read_record(store, experiment, trial)
    except (KeyError, StoreFault):
        return None


def read_failure(store: Store, experiment: str, trial: str) -> Failure:
    """Read why a trial could not be measured.

    Raises:
        KeyError: the trial has no failure.
        StoreFault: it is torn, not ours or too new.
    """
    name = failure_name(experiment, trial)
    return _read(FAILURE_READERS, _document(store, name), f"{store.url}/{name}")


def _describe(content: bytes | Path) -> StoredFile:
    if isinstance(content, bytes):
        return StoredFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    digest = hashlib.sha256()
    size = 0
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return StoredFile(bytes=size, sha256=digest.hexdigest())


def _document(store: Store, name: str) -> Any:
    content = store.get(name)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise StoreFault(
            f"{store.url}/{name}: is not a whole JSON document ({error}); delete it, and the next "
            f"run measures the trial again"
        ) from None


def _read(readers: Mapping[int, Callable[[dict[str, Any]], T]], document: Any, place: str) -> T:
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise StoreFault(
            f"{place}: was not written by llmatrix: it has no 'version'; move it away, and the "
            f"next run measures the trial again"
        )
    if version not in readers:
        raise StoreFault(
            f"{place}: has version {version}, and this llmatrix reads versions up to "
            f"{max(readers)}; read it with a newer llmatrix"
        )
    try:
        return readers[version](document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreFault(
            f"{place}: is not a record of version {version}: {where}: {first['msg']}; delete it, "
            f"and the next run measures the trial again"
        ) from None


def _is_finished(store: Store, experiment: str, trial: str) -> bool:
    try:
        document = orjson.loads(store.get(record_name(experiment, trial)))
    except (KeyError, orjson.JSONDecodeError):
        return False
    if not isinstance(document, dict):
        return False
    version = document.get("version")
    mine = document.get("trial") == trial and document.get("experiment") == experiment
    if not mine or not isinstance(version, int):
        return False
    return version not in READERS or document.keys() >= _REQUIRED
