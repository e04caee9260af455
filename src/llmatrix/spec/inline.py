"""Turn nodes into plain data with the files that they name taken in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from llmatrix.errors import Place, Problem
from llmatrix.spec.base import (
    FileText,
    TokenizerFolder,
    inline_document,
    read_named_file,
    read_tokenizer_folder,
)
from llmatrix.spec.faults import sentence
from llmatrix.spec.nodes import Node
from llmatrix.spec.paths import Types, free_mapping, members, nearest
from llmatrix.spec.recorded import READERS, Reader, RowFault


@dataclass(slots=True)
class Inliner:
    """Reads each named file once; collects those that cannot be read.

    Attributes:
        folder: where relative names start: the experiment file's folder.
        problems: grows by one for each place that names an unreadable file.
    """

    folder: Path
    problems: list[Problem]
    _read: dict[str, dict[str, str] | str] = field(default_factory=dict)
    _rows: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def plain(self, node: Node, types: Types, path: str) -> Any:
        """Give the value of a node at a dotted path where the schema has these types."""
        if FileText in types:
            if isinstance(node.value, str):
                return self._file(node.value, node.place, path)
            return inline_document(node.plain()) if isinstance(node.value, dict) else node.plain()
        if TokenizerFolder in types and isinstance(node.value, str) and node.value != "words":
            return self._tokenizer(node.value, node.place, path)
        for model, (read, stand_in) in READERS.items():
            if model in types and isinstance(node.value, str):
                found = self._recorded(node.value, node.place, path, read)
                return stand_in if found is None else found
        if not isinstance(node.value, dict):
            return node.plain()
        below, free = members(types), free_mapping(types) or ()
        return {
            key: self.plain(entry.node, below.get(key, free), f"{path}.{key}")
            for key, entry in node.value.items()
        }

    def _tokenizer(self, name: str, place: Place, path: str) -> dict[str, str] | str:
        try:
            return read_tokenizer_folder(name, self.folder)
        except ValueError as error:
            advice = "write the path of a tokenizer's folder, or words for a simulated server."
            self.problems.append(sentence(place, path, str(error), advice))
            return "words"  # stands in, so that the rest can still be checked

    def _recorded(self, name: str, place: Place, path: str, read: Reader) -> dict[str, Any] | None:
        key = f"{path} {name}"
        if key not in self._rows:
            try:
                self._rows[key] = read(name, self.folder)
            except RowFault as error:
                self._rows[key] = None
                self.problems.append(sentence(error.place, path, error.why))
            except ValueError as error:
                self._rows[key] = None
                near = near_file(self.folder / name)
                advice = f"did you mean '{PurePath(name).with_name(near)}'?" if near else None
                self.problems.append(sentence(place, path, str(error), advice))
        return self._rows[key]

    def _file(self, name: str, place: Place, path: str) -> dict[str, str]:
        if name not in self._read:
            try:
                self._read[name] = read_named_file(name, self.folder)
            except ValueError as error:
                self._read[name] = str(error)
        found = self._read[name]
        if isinstance(found, dict):
            return found
        near = near_file(self.folder / name)
        advice = f"did you mean '{PurePath(name).with_name(near)}'?" if near else None
        self.problems.append(sentence(place, path, found, advice))
        # Stands in for the file, so that the rest can still be checked.
        return {"text": f"{name} cannot be read", "name": name}


def near_file(path: Path) -> str | None:
    """Find a file beside this one whose name is like it."""
    try:
        beside = [
            other.name
            for other in path.parent.iterdir()
            if other.is_file() and other.name != path.name
        ]
    except (OSError, ValueError):
        return None
    return nearest(path.name, beside)
