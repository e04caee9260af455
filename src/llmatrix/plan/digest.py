"""Hashes of documents: the same content gives the same digest, on any machine, in any order."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic import BaseModel

DIGEST_CHARACTERS: Final = 20
"""80 bits: among a million trials, two collide with a probability below 1e-12."""


def canonical(value: Any) -> str:
    """Write plain data as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(*parts: str) -> str:
    """Hash an ordered list of texts; no two different lists run together into one."""
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.sha256(joined.encode()).hexdigest()[:DIGEST_CHARACTERS]


def document_digest(section: BaseModel, fields: frozenset[str] | None = None) -> str:
    """Hash a resolved section, whole or only the named fields; file names are not in it.

    Fields come in the order of their model, and the models sort their mappings, so the JSON that
    pydantic writes is canonical.
    """
    include = None if fields is None else set(fields)
    return digest(section.model_dump_json(include=include))
