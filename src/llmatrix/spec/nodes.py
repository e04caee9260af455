"""A document as it was read: plain data that remembers where each part stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmatrix.errors import Place
from llmatrix.spec.scalars import Scalar

Keys = tuple[str | int, ...]
"""A path into a document: keys of mappings and indices of lists."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a mapping, and where its key stands."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document.

    Attributes:
        place: where it stands; for an alias, where the alias stands.
        value: scalar, list of nodes, or mapping from key to entry.
        text: a scalar as it is written, without its quotes.
    """

    place: Place
    value: Scalar | list[Node] | dict[str, Entry]
    text: str = ""

    def plain(self) -> Any:
        """Give the value as plain data; as deep as ``MAX_DEPTH`` at most."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, keys: Sequence[str | int]) -> Iterator[tuple[Place, Node]]:
        """Go down ``keys`` as far as they exist; give where each key stands and its value."""
        node = self
        for key in keys:
            if isinstance(node.value, dict) and isinstance(key, str) and key in node.value:
                entry = node.value[key]
                place, node = entry.place, entry.node
            elif (
                isinstance(node.value, list) and isinstance(key, int) and 0 <= key < len(node.value)
            ):
                node = node.value[key]
                place = node.place
            else:
                return
            yield place, node

    def place_of(self, keys: Sequence[str | int], *, key: bool = False) -> Place:
        """Say where a path's value (or key) stands.

        Where the path ends early, that is the key under which the rest is missing.
        """
        steps = list(self.walk(keys))
        if not steps:
            return self.place
        key_place, node = steps[-1]
        return key_place if key or len(steps) < len(keys) else node.place


@dataclass(frozen=True, slots=True)
class Source:
    """A document as it was read, with the place of every part."""

    file: str
    root: Node

    def place(self, keys: Sequence[str | int], *, key: bool = False) -> Place:
        """Say where a path's value (or key) stands in the file."""
        return self.root.place_of(keys, key=key)
