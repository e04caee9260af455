"""Read YAML into plain data that remembers where each part stands.

The reader is bounded before it builds anything: size of the file, depth of nesting, and how much
the document comes to once every alias is followed. It works on parser events, so that no depth of
nesting reaches Python's recursion limit, and constructs nothing but mappings, lists and scalars.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.files import read_bytes
from llmatrix.spec.scalars import Scalar, plain_key, plain_scalar
from llmatrix.spec.syntax import in_words

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64
MAX_WEIGHT: Final = 250_000
"""Values that a document may come to, aliases followed; 100 characters of text weigh as one."""
_TEXT_WEIGHT: Final = 100

_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_PARSER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

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


def read_source(path: Path) -> Source:
    """Read a file whose top is a mapping.

    Raises:
        SpecError: it cannot be read, or is not the YAML that is taken here.
    """
    file = str(path)
    try:
        data = read_bytes(path, limit=MAX_FILE_BYTES)
    except ValueError as error:
        raise SpecError(Problem(Place(file), "", f"the file {error}.")) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError(
            Problem(Place(file, line, column), "", "the file is not UTF-8 text; save it as UTF-8.")
        ) from None
    root = parse(text, lambda line, column: Place(file, line, column))
    if root is None or root.value is None:
        raise SpecError(
            Problem(Place(file), "", "the file is empty; `llmatrix init` writes one to begin with.")
        )
    if not isinstance(root.value, dict):
        found = "a list" if isinstance(root.value, list) else f"'{_short(root.text)}'"
        raise SpecError(
            Problem(root.place, "", f"an experiment is a mapping (key: value), not {found}.")
        )
    return Source(file, root)


def parse(text: str, place: Callable[[int, int], Place]) -> Node | None:
    """Read one YAML document; None where there is none.

    Args:
        text: the document.
        place: gives the place of a line and column, both from 1.

    Raises:
        SpecError: everything that is wrong with it as YAML.
    """
    if match := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        message = f"the character U+{ord(match[0]):04X} cannot stand in a text file; remove it."
        raise SpecError(Problem(place(line, column), "", message))
    builder = _Builder(place)
    try:
        for event in yaml.parse(text, _PARSER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        raise SpecError(*builder.problems, _syntax_problem(error, text, place)) from None
    except yaml.YAMLError as error:
        message = f"this is not YAML: {_short(' '.join(str(error).split()))}."
        raise SpecError(*builder.problems, Problem(place(1, 1), "", message)) from None
    if builder.problems:
        raise SpecError(*builder.problems)
    return builder.root


def _syntax_problem(
    error: yaml.MarkedYAMLError, text: str, place: Callable[[int, int], Place]
) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    row = lines[line] if line < len(lines) else ""
    character = row[column] if column < len(row) else ""
    return Problem(place(line + 1, column + 1), "", f"{in_words(error, character)}.")


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
class _Builder:
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
        return _short(path)

    def _tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, place: Place) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._note(place, f"the tag {_short(tag)} is not taken here; write a plain value.")

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
            self._stop(place, f"nothing is anchored as &{_short(name)} before here{advice}")
        anchored = self._anchors[name]
        if anchored is None:
            self._stop(place, f"*{_short(name)} stands inside of what it names.")
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
            self._note(node.place, f"the key '{_short(key)}' is given twice{first}.")
        frame.key = (key, node.place)


def _check_text(text: str) -> None:
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(f"the text holds the character U+{ord(character):04X}; remove it")


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
