"""The matrix section: factors, and the combinations to include and exclude."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from llmatrix.errors import Place, Problem
from llmatrix.spec.faults import sentence, show
from llmatrix.spec.inline import Inliner
from llmatrix.spec.levels import Factor, Level, Levels, read_level, unnamed
from llmatrix.spec.nodes import Entry, Node
from llmatrix.spec.paths import (
    SECTIONS,
    Kinds,
    Types,
    find,
    kinds,
    listing,
    nearest,
    nearest_path,
    why_invalid,
)

LISTS: Final = ("include", "exclude")
_SHOWN_LEVELS: Final = 8

Combination = Mapping[str, Level]
"""Factor path to level."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The matrix as read.

    Attributes:
        factors, include, exclude: as in the file.
        nodes: where each level stands, by path and label.
        broken: paths of factors whose levels could not be read.
    """

    factors: tuple[Factor, ...] = ()
    include: tuple[Combination, ...] = ()
    exclude: tuple[Combination, ...] = ()
    nodes: Mapping[tuple[str, str], Node] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()


def possible_kinds(root: Node) -> Kinds:
    """Say which kinds each section can take: its own, and those of any level or include entry."""
    found: dict[str, set[str]] = {section: set() for section in SECTIONS}
    for path, node in _written(root):
        section = path.partition(".")[0]
        if path in SECTIONS and isinstance(node.value, dict) and "kind" in node.value:
            kind = node.value["kind"].node.value
        elif section in SECTIONS and path == f"{section}.kind":
            kind = node.value
        else:
            continue
        if kind in kinds(section):
            found[section].add(str(kind))
    return {section: frozenset(known) for section, known in found.items() if known}


def _written(root: Node) -> Iterator[tuple[str, Node]]:
    """Give what stands at each path: the sections, and every level of the matrix."""
    top = root.value if isinstance(root.value, dict) else {}
    for section in SECTIONS:
        if section in top:
            yield section, top[section].node
    matrix = top["matrix"].node.value if "matrix" in top else None
    for path, entry in matrix.items() if isinstance(matrix, dict) else ():
        for item in entry.node.value if isinstance(entry.node.value, list) else ():
            if path not in LISTS:
                yield path, unnamed(item)
            elif path == "include" and isinstance(item.value, dict):
                yield from ((inner, unnamed(value.node)) for inner, value in item.value.items())


def read_matrix(entry: Entry | None, possible: Kinds, inliner: Inliner) -> Matrix:
    """Read the matrix section; what is wrong is added to the inliner's problems."""
    if entry is None:
        return Matrix()
    rows, problems = entry.node.value, inliner.problems
    if rows is None or rows == {}:
        advice = "name a factor, or leave 'matrix' out for a single treatment."
        problems.append(sentence(entry.place, "matrix", "is empty", advice))
        return Matrix()
    if not isinstance(rows, dict):
        message = f"must be a mapping from factor to levels, not {show(entry.node.plain())}"
        problems.append(sentence(entry.node.place, "matrix", message))
        return Matrix()
    reader = _Reader(possible, inliner, problems)
    for path, row in rows.items():
        if path not in LISTS:
            reader.factor(path, row)
    # Before include, which may add levels that the factors do not have.
    exclude = reader.combinations(rows.get("exclude"), "exclude")
    include = reader.combinations(rows.get("include"), "include")
    if not reader.factors and not include and not problems:
        message = "has no factor and nothing to include"
        problems.append(sentence(entry.place, "matrix", message))
    return Matrix(
        tuple(reader.factors.values()), include, exclude, reader.nodes, frozenset(reader.broken)
    )


@dataclass(slots=True)
class _Reader:
    possible: Kinds
    inliner: Inliner
    problems: list[Problem]
    factors: dict[str, Factor] = field(default_factory=dict)
    levels: dict[str, Levels] = field(default_factory=dict)
    """By path: those of the factors, and those that only include entries name."""
    nodes: dict[tuple[str, str], Node] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def _say(self, place: Place, path: str, message: str, suggestion: str | None = None) -> None:
        self.problems.append(sentence(place, path, message, suggestion))

    def _types(self, path: str, place: Place) -> Types | None:
        found = find(path, self.possible)
        if found is None:
            self._say(place, path, *why_invalid(path, self.possible))
            return None
        return found[1]

    def factor(self, path: str, row: Entry) -> None:
        types = self._types(path, row.place)
        if types is None:
            return
        levels = row.node.value
        self.broken.add(path)
        if not isinstance(levels, list):
            self._say(row.node.place, path, *_no_list(path, row.node))
            return
        if not levels:
            self._say(row.node.place, path, "has no levels", "list at least one, or remove it.")
            return
        self.broken.remove(path)
        read = [read_level(node, types, path, self.inliner) for node in levels]
        known = self.levels[path] = Levels(path, self.problems)
        known.add_all(read)
        self.factors[path] = Factor(path, tuple(d.level for d in known.by_label.values()))
        self.nodes.update({(path, label): d.node for label, d in known.by_label.items()})

    def combinations(self, row: Entry | None, name: str) -> tuple[Combination, ...]:
        where = f"matrix.{name}"
        if row is None or row.node.value is None:
            return ()
        if not isinstance(row.node.value, list):
            message = f"must be a list of combinations, not {show(row.node.plain())}"
            self._say(row.node.place, where, message, "begin each with '- '.")
            return ()
        found: dict[frozenset[tuple[str, str]], Combination] = {}
        for index, node in enumerate(row.node.value):
            here = f"{where}[{index}]"
            if not isinstance(node.value, dict) or not node.value:
                message = f"must be a mapping from factor to level, not {show(node.plain())}"
                if node.value == {}:
                    message = "names no factor"
                self._say(node.place, here, message)
                continue
            read = self._included if name == "include" else self._excluded
            levels = {path: read(path, entry) for path, entry in node.value.items()}
            chosen = {path: level for path, level in levels.items() if level is not None}
            key = frozenset((path, level.label) for path, level in chosen.items())
            if len(chosen) < len(levels):
                continue
            if key in found:
                self._say(node.place, here, "is the same combination as one before")
            found[key] = chosen
        return tuple(found.values())

    def _excluded(self, path: str, entry: Entry) -> Level | None:
        if path not in self.factors:
            if self._types(path, entry.place) is not None:
                near = nearest_path(path, list(self.factors))
                advice = f"did you mean '{near}'?" if near else None
                self._say(entry.place, path, "is no factor of this matrix", advice)
            return None
        known = self.levels[path]
        if match := known.match(entry.node):
            return match.level
        labels = list(known.by_label)
        near = nearest(entry.node.text, labels)
        more = ", …" if len(labels) > _SHOWN_LEVELS else ""
        self._say(
            entry.node.place,
            path,
            f"{show(entry.node.plain())} is no level of this factor, so nothing would be excluded",
            f"did you mean '{near}'?"
            if near
            else f"its levels are {listing(labels[:_SHOWN_LEVELS], 'and')}{more}.",
        )
        return None

    def _included(self, path: str, entry: Entry) -> Level | None:
        types = self._types(path, entry.place)
        if types is None:
            return None
        known = self.levels.setdefault(path, Levels(path, self.problems))
        if match := known.match(entry.node):
            return match.level
        added = known.add(read_level(entry.node, types, path, self.inliner))
        if added is None:
            return None
        self.nodes[path, added.level.label] = added.node
        return added.level


def _no_list(path: str, node: Node) -> tuple[str, str]:
    if isinstance(node.value, dict):
        inner = next(iter(node.value), "field")
        return (
            "needs a list of levels, not a mapping",
            f"write the whole path as one key, for example '{path}.{inner}: [...]'.",
        )
    text = node.text or show(node.value)
    return "needs a list of levels", f"write [{text[:40]}]."
