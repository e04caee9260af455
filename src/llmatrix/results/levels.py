"""The level that each record has of each factor, also where an experiment was amended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from llmatrix.results.trial_row import Measured

LONGEST_LABEL: Final = 40
"""Characters up to which a value is its own label."""


def factors_of(levels: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """Give every factor's path, in the order in which trials name them."""
    return tuple(dict.fromkeys(path for part in levels for path in part))


def unnamed_factors(
    records: Sequence[Measured], levels: Mapping[str, Mapping[str, str | None]]
) -> tuple[str, ...]:
    """Find what differs between records that have the same levels of every named factor."""
    first: dict[tuple[str | None, ...], Measured] = {}
    found: dict[str, None] = {}
    for record in records:
        twin = first.setdefault(tuple(levels[record.trial].values()), record)
        if (twin.document, twin.versions) == (record.document, record.versions):
            continue
        mine, other = _flat(_identity(record)), _flat(_identity(twin))
        for path in {**other, **mine}:
            if other.get(path) != mine.get(path):
                found[path] = None
    return tuple(found)


def complete(
    records: Sequence[Measured], factors: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """Complete the levels of records made before a factor was added to the matrix.

    Such a record takes the value that its resolved document holds at the factor's path, under
    the label that other records give to the same value.
    """
    if all(path in record.levels for record in records for path in factors):
        return {r.trial: {path: r.levels[path] for path in factors} for r in records}
    labels = {
        (path, _canonical(_at(_identity(record), path))): label
        for record in records
        for path, label in record.levels.items()
    }

    def level(record: Measured, path: str) -> str | None:
        if path in record.levels:
            return record.levels[path]
        value = _at(_identity(record), path)
        if value is None:
            return None
        return labels.get((path, _canonical(value))) or _label(value)

    return {r.trial: {path: level(r, path) for path in factors} for r in records}


def _identity(record: Measured) -> dict[str, Any]:
    """Give what makes a treatment what it is: the document, and the versions of what measures."""
    return {**record.document, "versions": record.versions}


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _label(value: Any) -> str:
    """Write a value as a level's label; a long one (a file's text) by its hash."""
    text = str(value) if isinstance(value, str | int | float) else _canonical(value).decode()
    if len(text) <= LONGEST_LABEL and text.isprintable():
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _flat(document: Any, path: str = "") -> dict[str, Any]:
    """Give every leaf of a document by its dotted path."""
    if not isinstance(document, dict):
        return {path: document}
    leaves: dict[str, Any] = {}
    for key, value in document.items():
        leaves |= _flat(value, f"{path}.{key}" if path else str(key))
    return leaves


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document
