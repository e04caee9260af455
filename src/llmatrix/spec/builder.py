"""Build nodes from the events of a YAML parser, within bounds.

Depth of nesting, and how much the document comes to once every alias is followed, are checked as
the events come, so that neither a bomb of aliases nor nesting without end is ever built.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.nodes import Entry, Node
from llmatrix.spec.scalars import Scalar, plain_key, plain_scalar

MAX_DEPTH: Final = 64
MAX_WEIGHT: Final = 250_000
"""Values that a document may come to, aliases followed; 100 characters of text weigh as one."""
_TEXT_WEIGHT: Final = 100


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    place: Place
    anchor: str | None
    value: list[Node] | dict[str, Entry]
    key: tuple[str, Place] | None = None
    weight: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for."""

    node: Node
    weight: int
    height: int


@dataclass(slots=True)
class Builder:
    """Builds nodes from parser events; collects what is wrong and goes on where it can."""

    locate: Callable[[int, int], Place]
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    _open: list[_Frame] = field(default_factory=list)
    _anchors: dict[str, _Anchored | None] = field(default_factory=dict)
    _documents: int = 0

    def feed(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = self.locate(mark.line + 1, mark.column + 1) if mark else self.locate(1, 1)
        if isinstance(event, yaml.ScalarEvent):
            self._tag(event, place)
            self._scalar(event, place)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, place)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tag(event, place)
            self._start(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(place, "a second document begins here; one file holds one experiment.")

    def _stop(self, place: Place, message: str) -> None:
        raise SpecError(*self.problems, Problem(place, self._path(), message))

    def _note(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, self._path(), message))

    def _path(self) -> str:
        path = ""
        for frame in self._open:
            if isinstance(frame.value, list):
                path += f"[{len(frame.value)}]"
            elif frame.key:
                path += f".{frame.key[0]}" if path else frame.key[0]
        return shorten(path)

    def _tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, place: Place) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._note(place, f"the tag {shorten(tag)} is not taken here; write a plain value.")

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> None:
        text = event.value
        frame = self._open[-1] if self._open else None
        is_key = frame is not None and isinstance(frame.value, dict) and frame.key is None
        value: Scalar = text
        try:
            if "\0" in text or not text.isprintable():
                _check_text(text)
            if not event.style:  # unquoted: libyaml says "", PyYAML None
                value = plain_key(text) if is_key else plain_scalar(text)
        except ValueError as error:
            self._note(place, f"{error}.")
        weight = 1 + len(text) // _TEXT_WEIGHT
        node = Node(place, value, text)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(node, weight, 0)
        self._add(node, weight, 0)

    def _alias(self, event: yaml.AliasEvent, place: Place) -> None:
        name = event.anchor or ""
        if name not in self._anchors:
            near = difflib.get_close_matches(name, self._anchors, n=1)
            advice = f"; did you mean *{near[0]}?" if near else "."
            self._stop(place, f"nothing is anchored as &{shorten(name)} before here{advice}")
        anchored = self._anchors[name]
        if anchored is None:
            self._stop(place, f"*{shorten(name)} stands inside of what it names.")
            return
        self._add(replace(anchored.node, place=place), anchored.weight, anchored.height)

    def _start(self, event: yaml.CollectionStartEvent, place: Place) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._stop(place, f"mappings and lists are nested more than {MAX_DEPTH} deep.")
        if event.anchor:
            self._anchors[event.anchor] = None
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Frame(place, event.anchor, {} if mapping else []))

    def _end(self) -> None:
        frame = self._open.pop()
        node = Node(frame.place, frame.value)
        height = frame.height + 1
        if frame.anchor:
            self._anchors[frame.anchor] = _Anchored(node, frame.weight, height)
        self._add(node, frame.weight, height)

    def _add(self, node: Node, weight: int, height: int) -> None:
        if not self._open:
            self.root = node
            return
        frame = self._open[-1]
        if len(self._open) + height > MAX_DEPTH:
            self._stop(node.place, f"mappings and lists are nested more than {MAX_DEPTH} deep.")
        frame.weight += weight
        frame.height = max(frame.height, height)
        if frame.weight > MAX_WEIGHT:
            self._stop(
                node.place,
                f"the document comes to more than {MAX_WEIGHT:,} values up to here "
                "(an alias counts as all that it stands for); make it smaller.",
            )
        if isinstance(frame.value, list):
            frame.value.append(node)
        elif frame.key is None:
            self._key(frame, node)
        else:
            key, place = frame.key
            frame.value.setdefault(key, Entry(place, node))
            frame.key = None

    def _key(self, frame: _Frame, node: Node) -> None:
        if isinstance(node.value, (dict, list)):
            self._stop(node.place, "a key must be text, not a mapping or a list.")
        key = node.text
        if isinstance(frame.value, dict) and key in frame.value:
            line = frame.value[key].place.line
            first = f"; the first is at line {line}" if line else ""
            self._note(node.place, f"the key '{shorten(key)}' is given twice{first}.")
        frame.key = (key, node.place)


def _check_text(text: str) -> None:
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(f"the text holds the character U+{ord(character):04X}; remove it")


def shorten(text: str, most: int = 60) -> str:
    """Cut a text that the user wrote to what a sentence can hold."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
