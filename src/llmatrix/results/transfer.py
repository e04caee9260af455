"""Copying experiments between stores, and removing them: a record is whole or absent throughout.

A trial's files are checked against the hashes in its record on the way and the record is put
last, so a copy that is stopped is continued by the same command: trials whose record arrived are
passed over, the others are copied again from their beginning.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from llmatrix.errors import StoreFault
from llmatrix.results.folder import FolderStore
from llmatrix.results.manifest import manifest_name
from llmatrix.results.records import failure_name, record_name
from llmatrix.results.store import Store

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_AT_ONCE: Final = 8
"""Trials copied side by side where either store is reached over a network."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one trial, or of the manifest.

    Attributes:
        name: id of the trial, or ``experiment.json``.
        outcome: copied; same (was there already); kept (another one was there and stays);
            refused (it is damaged where it comes from); nothing (neither record nor failure).
        problem: a clear sentence for kept and refused.
    """

    name: str
    outcome: Literal["copied", "same", "kept", "refused", "nothing"]
    problem: str = ""


def copy_experiment(
    source: Store, experiment: str, target: Store, *, force: bool = False
) -> Iterator[Moved]:
    """Copy an experiment's trials, then its manifest; tell each as it is done, in order.

    Args:
        source: where it lies.
        experiment: its name, in both stores.
        target: where it goes.
        force: replace what is there and differs; without it, that stays.

    Raises:
        StoreFault: a store cannot be read or written; what was copied before is whole.
    """
    trials = list(source.folders(f"{experiment}/"))
    at_once = _AT_ONCE if max(source.parallel, target.parallel) > 1 else 1
    with ThreadPoolExecutor(at_once) as threads:
        yield from threads.map(
            lambda trial: copy_trial(source, experiment, trial, target, force=force), trials
        )
    yield _copy_document(source, manifest_name(experiment), target, "experiment.json", force=force)


def copy_trial(
    source: Store, experiment: str, trial: str, target: Store, *, force: bool = False
) -> Moved:
    """Copy what one trial left: its files, then its record; or why it failed.

    Raises:
        StoreFault: a store cannot be read or written; the record is whole or absent.
    """
    name = record_name(experiment, trial)
    try:
        content = source.get(name)
    except KeyError:
        if target.exists(name):
            return Moved(trial, "same")  # measured there since: that is worth more than a failure
        return _copy_document(source, failure_name(experiment, trial), target, trial, force=force)
    there = _get(target, name)
    if there == content:
        return Moved(trial, "same")
    if there is not None and not force:
        return _kept(target, name, trial)
    problem = _carry(source, f"{experiment}/{trial}", content, target)
    if problem:
        return Moved(trial, "refused", problem)
    target.delete(failure_name(experiment, trial))
    return Moved(trial, "copied")


def _carry(source: Store, folder: str, record: bytes, target: Store) -> str | None:
    """Copy a trial's files and its record, or say what is wrong with them; nothing is put then."""
    files = _files(record)
    name = f"{folder}/record.json"
    if files is None:
        return f"{source.url}/{name}: is not a whole record; it was not copied"
    with tempfile.TemporaryDirectory(prefix="llmatrix-") as here:
        for number, (file, stored) in enumerate(files.items()):
            problem = _fetch(source, f"{folder}/{file}", stored, Path(here) / str(number))
            if problem:
                return problem
        target.delete(name)
        for number, file in enumerate(files):
            target.put(f"{folder}/{file}", Path(here) / str(number))
    target.put(name, record)
    return None


def _files(record: bytes) -> dict[str, Any] | None:
    """Give what a record says of its files, whatever version it is of; None if it is none."""
    try:
        files = orjson.loads(record)["files"]
        if all(isinstance(file["sha256"], str) for file in files.values()):
            return dict(files)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        pass
    return None


def _fetch(source: Store, name: str, stored: Any, path: Path) -> str | None:
    """Copy a file to this machine, and say what is wrong if it is not what the record says."""
    digest = hashlib.sha256()
    try:
        with source.open(name, buffer_bytes=_CHUNK_BYTES) as file, path.open("wb") as copy:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
    except KeyError:
        return f"{source.url}/{name}: is missing; its trial was not copied"
    except OSError as error:
        raise StoreFault(
            f"'{name}' could not be kept on this machine on its way: {error.strerror or error}"
        ) from error
    if digest.hexdigest() != stored["sha256"]:
        return (
            f"{source.url}/{name}: is not what its record says (sha256); its trial was not copied"
        )
    return None


def _copy_document(source: Store, name: str, target: Store, called: str, *, force: bool) -> Moved:
    content = _get(source, name)
    if content is None:
        return Moved(called, "nothing")
    there = _get(target, name)
    if there == content:
        return Moved(called, "same")
    if there is not None and not force:
        return _kept(target, name, called)
    target.put(name, content)
    return Moved(called, "copied")


def _kept(target: Store, name: str, called: str) -> Moved:
    return Moved(called, "kept", f"{target.url}/{name}: is another one; it stays, without --force")


def _get(store: Store, name: str) -> bytes | None:
    try:
        return store.get(name)
    except KeyError:
        return None


def remove_experiment(store: Store, experiment: str) -> int:
    """Remove everything of an experiment, and give how many files that were.

    What says that a trial is done goes first, so that a removal that is stopped leaves no record
    without its files.

    Raises:
        StoreFault: something cannot be removed; the same call goes on.
    """
    names = list(store.names(f"{experiment}/"))
    names.sort(key=lambda name: not name.endswith(("/record.json", "/failure.json")))
    for name in names:
        store.delete(name)
    if isinstance(store, FolderStore):
        store.remove_empty(experiment)
    return len(names)
