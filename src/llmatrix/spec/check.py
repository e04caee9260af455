"""Validate the base document with the first level of each factor, and each level at its place.

Not every combination is tried here: the plan does that for those that it will run. What is
reported is certain: an error that stands wherever a section's ``kind`` varies, whichever kind
stands beside it, in a part of the document that no other factor replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from llmatrix.errors import Place, Problem
from llmatrix.spec.faults import Fault, faults, problem, sentence, show
from llmatrix.spec.levels import Factor, Level
from llmatrix.spec.matrix import Combination, Matrix
from llmatrix.spec.nodes import Keys, Source
from llmatrix.spec.paths import keys_of, kinds, listing
from llmatrix.spec.sections import ROOTS, assign, validate_section


@dataclass(frozen=True, slots=True)
class Origins:
    """Says where in the file a value of a combination was written."""

    source: Source
    matrix: Matrix

    def owner(self, keys: Keys, combination: Iterable[str]) -> str | None:
        """Give the factor whose level holds ``keys``; None where the base document does."""
        holders = [path for path in combination if keys[: path_length(path)] == keys_of(path)]
        return max(holders, key=path_length, default=None)

    def place(self, fault: Fault, combination: Combination) -> Place:
        """Say where the faulty value (or key) stands."""
        path = self.owner(fault.keys, combination)
        if path is None:
            return self.source.place(fault.keys, key=fault.at_key)
        node = self.matrix.nodes[path, combination[path].label]
        return node.place_of(fault.keys[path_length(path) :], key=fault.at_key)

    def problem(self, fault: Fault, combination: Combination) -> Problem:
        """Say what is wrong with one value of a combination, at its place."""
        return problem(self.place(fault, combination), self._mixed(fault, combination))

    def _mixed(self, fault: Fault, combination: Combination) -> Fault:
        """Add which factors put something into a value that the file writes elsewhere."""
        length = len(fault.keys)
        inside = [
            path
            for path in combination
            if path_length(path) > length and keys_of(path)[:length] == fault.keys
        ]
        if not inside or fault.at_key:
            return fault
        return replace(fault, message=f"{fault.message}, here with {' and '.join(inside)}")


def path_length(path: str) -> int:
    """Count the keys of a factor path."""
    return len(keys_of(path))


def check(sections: Iterable[str], base: Mapping[str, Any], origins: Origins) -> list[Problem]:
    """Validate these sections of the base document, and every level of the matrix in them."""
    return [found for name in sections for found in _Section.of(name, origins).problems(base[name])]


@dataclass(frozen=True, slots=True)
class _Section:
    """One section with the factors and include entries that touch it."""

    name: str
    factors: tuple[Factor, ...]
    include: tuple[Combination, ...]
    origins: Origins

    @classmethod
    def of(cls, name: str, origins: Origins) -> _Section:
        factors = tuple(f for f in origins.matrix.factors if _section(f.path) == name)
        entries = (
            {path: level for path, level in entry.items() if _section(path) == name}
            for entry in origins.matrix.include
        )
        return cls(name, factors, tuple(entry for entry in entries if entry), origins)

    def problems(self, section: Any) -> list[Problem]:
        top = self.origins.source.root.value
        missing = Fault((self.name,), "is missing")
        written = isinstance(top, dict) and self.name in top
        if not written and not self.factors and not self.include and not self._supplied(missing):
            known = kinds(self.name)
            advice = f"the kinds are {listing(known, 'and')}." if known else None
            place = self.origins.source.root.place
            return [sentence(place, self.name, missing.message, advice)]
        if not isinstance(section, Mapping):
            place = self.origins.source.place((self.name,))
            message = f"must be a mapping (key: value), not {show(section)}"
            return [sentence(place, self.name, message)]
        contexts = self._contexts(section)
        found = [
            self.origins.problem(fault, contexts[0])
            for fault in self._certain(section, contexts)
            if self._owner(fault, contexts[0]) is None and not self._supplied(fault)
        ]
        for factor in self.factors:
            found += self._levels(section, contexts, factor)
        for entry in self.include:
            tries = [{**context, **entry} for context in contexts]
            found += self._of_levels(section, tries, entry)
        return found

    def _contexts(self, section: Mapping[str, Any]) -> list[dict[str, Level]]:
        """Give one combination for each kind that the section can take."""
        first = {factor.path: factor.levels[0] for factor in self.factors if factor.levels}
        tries = [first]
        for factor in self.factors:
            if self._chooses_kind(factor.path):
                tries += [{**first, factor.path: level} for level in factor.levels]
        tries += [{**first, **entry} for entry in self.include if self._any_kind(entry)]
        by_kind: dict[str, dict[str, Level]] = {}
        for combination in tries:
            data: Any = assign(section, _values(combination))
            kind = data.get("kind") if isinstance(data, Mapping) else None
            by_kind.setdefault(str(kind), combination)
        return list(by_kind.values())

    def _chooses_kind(self, path: str) -> bool:
        return path in {self.name, f"{self.name}.kind"}

    def _any_kind(self, paths: Iterable[str]) -> bool:
        return any(self._chooses_kind(path) for path in paths)

    def _levels(
        self, section: Mapping[str, Any], contexts: list[dict[str, Level]], factor: Factor
    ) -> list[Problem]:
        found: list[Problem] = []
        resolved: dict[str, Level] = {}
        for level in factor.levels:
            tries = [{**context, factor.path: level} for context in contexts]
            if self._chooses_kind(factor.path):
                del tries[1:]
            found += self._of_levels(section, tries, {factor.path: level})
            same = self._resolved(section, tries[0])
            if same is None:
                continue
            first = resolved.setdefault(same, level)
            if first is not level:
                found.append(self._twice(factor.path, level, first))
        return found

    def _twice(self, path: str, level: Level, first: Level) -> Problem:
        nodes = self.origins.matrix.nodes
        line = nodes[path, first.label].place.line
        where = f" (line {line})" if line else ""
        return sentence(
            nodes[path, level.label].place,
            path,
            f"the level {show(level.label)} means the same as {show(first.label)}{where}",
            "its trials would be measured twice.",
        )

    def _of_levels(
        self, section: Mapping[str, Any], tries: list[dict[str, Level]], levels: Combination
    ) -> list[Problem]:
        return [
            self.origins.problem(fault, tries[0])
            for fault in self._certain(section, tries)
            if self._owner(fault, tries[0]) in levels
        ]

    def _certain(
        self, section: Mapping[str, Any], tries: list[dict[str, Level]]
    ) -> Iterable[Fault]:
        """Give the faults that every one of these combinations has."""
        first, *others = tries
        certain = {fault.keys: fault for fault in self._faults(section, first)}
        for combination in others:
            if not certain:
                break
            still = {fault.keys: fault for fault in self._faults(section, combination)}
            # A wrong value says more than a kind that does not know the key.
            certain = {
                keys: still[keys] if fault.at_key else fault
                for keys, fault in certain.items()
                if keys in still
            }
        return certain.values()

    def _faults(self, section: Mapping[str, Any], combination: Combination) -> list[Fault]:
        try:
            validate_section(self.name, assign(section, _values(combination)))
        except ValidationError as error:
            return faults(error, ROOTS[self.name])
        return []

    def _resolved(self, section: Mapping[str, Any], combination: Combination) -> str | None:
        try:
            valid = validate_section(self.name, assign(section, _values(combination)))
        except ValidationError:
            return None
        return str(valid.model_dump_json())

    def _owner(self, fault: Fault, combination: Combination) -> str | None:
        return self.origins.owner(fault.keys, combination)

    def _supplied(self, fault: Fault) -> bool:
        """Tell whether an include entry, or a factor not understood, may give what is at fault."""
        broken = {path for path in self.origins.matrix.broken if _section(path) == self.name}
        paths = broken.union(*self.include)
        return any(_touch(fault.keys, keys_of(path)) for path in paths)


def _section(path: str) -> str:
    return path.partition(".")[0]


def _values(combination: Combination) -> dict[str, Any]:
    return {path: level.value for path, level in combination.items()}


def _touch(one: Keys, other: Keys) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
