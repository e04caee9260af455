"""Levels of a factor: their values, their labels, and that no two are the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Final

from llmatrix.errors import Problem
from llmatrix.spec.base import FileText
from llmatrix.spec.faults import sentence, show
from llmatrix.spec.inline import Inliner
from llmatrix.spec.nodes import Node
from llmatrix.spec.paths import Types
from llmatrix.spec.recorded import DatasetFile, TraceFile

_LABEL_LENGTH: Final = 60
_NAMED: Final = {"name", "value"}


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a factor.

    Attributes:
        label: how tables and ``--only`` name it; unique within the factor.
        value: plain data, files taken in.
    """

    label: str
    value: Any


@dataclass(frozen=True, slots=True)
class Factor:
    """A named dimension: a dotted path and its levels, in the file's order."""

    path: str
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A level as it was read.

    Attributes:
        node: its value in the file.
        written: the value as canonical JSON, for comparing what two places wrote.
        level: the level.
        fallback: a longer label, for when another level has the same.
        named: whether the user gave the label.
    """

    node: Node
    written: str
    level: Level
    fallback: str
    named: bool

    def relabelled(self) -> Draft:
        """Give the same level under its longer label, unless the user named it."""
        return self if self.named else replace(self, level=Level(self.fallback, self.level.value))


def canonical(node: Node) -> str:
    """Write a node's value so that equal values, and only they, are written alike."""
    return json.dumps(node.plain(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def unnamed(node: Node) -> Node:
    """Give the value of a level, whether or not it is written with a name."""
    if isinstance(node.value, dict) and set(node.value) == _NAMED:
        return node.value["value"].node
    return node


def read_level(node: Node, types: Types, path: str, inliner: Inliner) -> Draft:
    """Read one level: a value, or ``{name: ..., value: ...}``."""
    name: str | None = None
    if isinstance(node.value, dict) and set(node.value) == _NAMED:
        given = node.value["name"].node
        name, node = _name(given, path, inliner.problems), unnamed(node)
    written = canonical(node)
    label, fallback = _labels(node, written, types)
    value = inliner.plain(node, types, path)
    return Draft(node, written, Level(name or label, value), fallback, named=name is not None)


def _name(node: Node, path: str, problems: list[Problem]) -> str | None:
    text = node.text.strip()
    if isinstance(node.value, (dict, list)) or not text or not text.isprintable():
        message = f"the name of a level must be a word or two, not {show(node.plain())}"
        problems.append(sentence(node.place, path, message))
        return None
    if len(text) > _LABEL_LENGTH:
        message = f"the name of a level must have at most {_LABEL_LENGTH} characters"
        problems.append(sentence(node.place, path, message))
    return text


def _labels(node: Node, written: str, types: Types) -> tuple[str, str]:
    if isinstance(node.value, (dict, list)):
        return _short(written), written
    text = _printable(node.text) or show(node.value)
    if isinstance(node.value, str) and not {FileText, DatasetFile, TraceFile}.isdisjoint(types):
        return _short(PurePath(text).stem or text), text
    return _short(text), text


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"


@dataclass(slots=True)
class Levels:
    """The levels of one factor as they are read; no two with the same label or value."""

    path: str
    problems: list[Problem]
    by_label: dict[str, Draft] = field(default_factory=dict)
    by_written: dict[str, Draft] = field(default_factory=dict)

    def add_all(self, drafts: Sequence[Draft]) -> None:
        """Take a list of levels; labels made for the user grow longer where they collide."""
        counts = Counter(draft.level.label for draft in drafts)
        for draft in drafts:
            self.add(draft.relabelled() if counts[draft.level.label] > 1 else draft)

    def add(self, draft: Draft) -> Draft | None:
        """Take one level; None, and a problem, where it is there already."""
        if draft.level.label in self.by_label:
            draft = draft.relabelled()
        first = self.by_written.get(draft.written) or self.by_label.get(draft.level.label)
        if first is not None:
            self.problems.append(twice(draft, first, self.path))
            return None
        self.by_label[draft.level.label] = self.by_written[draft.written] = draft
        return draft

    def match(self, node: Node) -> Draft | None:
        """Find the level that has this value, or else this label."""
        if found := self.by_written.get(canonical(node)):
            return found
        return None if isinstance(node.value, (dict, list)) else self.by_label.get(node.text)


def twice(draft: Draft, first: Draft, path: str) -> Problem:
    """Say that a level is given twice."""
    line = f" (line {first.node.place.line})" if first.node.place.line else ""
    label, other = draft.level.label, first.level.label
    if draft.written != first.written:
        message = f"two levels are called {show(label)}{line}"
        return sentence(draft.node.place, path, message, "give each a name of its own.")
    if label == other:
        message = f"the level {show(label)} is given twice{line}"
    else:
        message = f"the level {show(label)} is the same as {show(other)}{line}"
    return sentence(draft.node.place, path, message, "its trials would be measured twice.")
