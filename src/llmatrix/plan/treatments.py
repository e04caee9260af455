"""Factors to treatments: every combination of levels that the matrix asks for.

``exclude`` removes combinations first; ``include`` then adds to those that it agrees with, or
becomes a combination of its own, as in GitHub Actions. Combinations are tuples of small integers,
so that a million of them fit in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmatrix.spec.load import Level, Loaded

Combination = tuple[int, ...]
"""For each path of the table, the number of its level; -1 where the path keeps its base value."""
UNSET = -1


@dataclass(frozen=True, slots=True)
class LevelTable:
    """The levels of every path that the matrix touches; factors first, in the file's order."""

    paths: tuple[str, ...]
    levels: tuple[tuple[Level, ...], ...]

    def assignment(self, combination: Combination) -> dict[str, Level]:
        """Give the level of each path that the combination sets."""
        return {
            path: levels[number]
            for path, levels, number in zip(self.paths, self.levels, combination, strict=True)
            if number != UNSET
        }


def level_table(loaded: Loaded) -> LevelTable:
    """Collect the factors' levels, and those that only an ``include`` entry names."""
    levels: dict[str, list[Level]] = {f.path: list(f.levels) for f in loaded.factors}
    for entry in loaded.include:
        for path, level in entry.items():
            known = levels.setdefault(path, [])
            if not any(_same(level, other) for other in known):
                known.append(level)
    return LevelTable(tuple(levels), tuple(tuple(each) for each in levels.values()))


def combinations(
    loaded: Loaded, table: LevelTable, only: Mapping[str, frozenset[str]]
) -> Iterator[Combination]:
    """Enumerate the combinations of the matrix in the file's order, lazily."""
    excluded = [_numbers(table, entry) for entry in loaded.exclude]
    included = [_numbers(table, entry) for entry in loaded.include]
    selected = _selected(table, only)
    factors = len(loaded.factors)
    alone = set(range(len(included)))
    padding = (UNSET,) * (len(table.paths) - factors)
    grid = [range(len(f.levels)) for f in loaded.factors]
    for numbers in itertools.product(*grid) if grid or not included else ():
        if any(all(numbers[i] == n for i, n in entry.items()) for entry in excluded):
            continue
        combination = numbers + padding
        if included:
            combination = _extend(combination, included, factors, alone)
        if _keeps(combination, selected):
            yield combination
    for index in sorted(alone):
        combination = tuple(included[index].get(i, UNSET) for i in range(len(table.paths)))
        if _keeps(combination, selected):
            yield combination


def _extend(
    combination: Combination,
    included: Sequence[Mapping[int, int]],
    factors: int,
    alone: set[int],
) -> Combination:
    """Add to a combination what the include entries that agree with it say."""
    extended = list(combination)
    for index, entry in enumerate(included):
        if all(combination[i] == n for i, n in entry.items() if i < factors):
            alone.discard(index)
            for i, number in entry.items():
                extended[i] = number
    return tuple(extended)


def _selected(
    table: LevelTable, only: Mapping[str, frozenset[str]]
) -> list[tuple[int, frozenset[int]]]:
    return [
        (
            table.paths.index(path),
            frozenset(
                n
                for n, level in enumerate(table.levels[table.paths.index(path)])
                if level.label in labels
            ),
        )
        for path, labels in only.items()
    ]


def _keeps(combination: Combination, selected: Iterable[tuple[int, frozenset[int]]]) -> bool:
    return all(combination[index] in numbers for index, numbers in selected)


def _numbers(table: LevelTable, entry: Mapping[str, Level]) -> dict[int, int]:
    """Turn an include or exclude entry into positions and level numbers of the table."""
    found: dict[int, int] = {}
    for path, level in entry.items():
        index = table.paths.index(path)
        found[index] = next(n for n, other in enumerate(table.levels[index]) if _same(level, other))
    return found


def _same(one: Level, other: Level) -> bool:
    """Tell whether two levels are the same value; ``1`` and ``true`` are not."""
    return one.value == other.value and type(one.value) is type(other.value)
