"""The distinct forms of one section of the document that a plan's combinations give it.

Each is validated and hashed once, whatever the number of treatments it is in. Only its hash and
the levels that shape it are kept; the section itself is made again when somebody asks, so that a
million forms fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from llmatrix.plan.digest import document_digest
from llmatrix.plan.treatments import UNSET, Combination, LevelTable
from llmatrix.spec.load import Level, Loaded, assign, validate_section

_MADE_AT_ONCE = 4096
"""Sections kept ready, of those asked for last."""
Finish = Callable[[Any, Mapping[str, Level]], Any]
"""Makes a valid section, shaped by these levels, whole; the same one always the same."""


def as_it_is(section: Any, levels: Mapping[str, Level]) -> Any:
    """Finish a section that needs nothing more."""
    del levels
    return section


class Variants:
    """Numbers the distinct forms of the section ``name``, from 0, as they are met."""

    def __init__(
        self,
        name: str,
        loaded: Loaded,
        table: LevelTable,
        on_new: Callable[[Any], None] = lambda _: None,
        finish: Finish = as_it_is,
    ) -> None:
        self._name = name
        self._loaded = loaded
        self._table = table
        self._on_new = on_new
        self._finish = finish
        # Shallow paths first, so that a factor over a whole section comes before one inside it.
        columns = [i for i, path in enumerate(table.paths) if path.split(".")[0] == name]
        self._columns = tuple(sorted(columns, key=lambda i: table.paths[i].count(".")))
        self._numbers: dict[tuple[int, ...], int] = {}
        self._by_digest: dict[str, int] = {}
        self._shaped_by: list[tuple[int, ...]] = []
        self._digests: list[str] = []
        self.section = lru_cache(_MADE_AT_ONCE)(self._section)

    def number(self, combination: Combination) -> int:
        """Give the number of the form that a combination selects.

        Raises:
            SpecError: its levels do not go together; it names their places in the file.
        """
        shape = tuple([combination[i] for i in self._columns])
        known = self._numbers.get(shape)
        if known is None:
            known = self._numbers[shape] = self._meet(shape, combination)
        return known

    def digest(self, number: int) -> str:
        """Give the hash of a form."""
        return self._digests[number]

    def _section(self, number: int) -> Any:
        return self._make(self._shaped_by[number])

    def _make(self, shape: tuple[int, ...]) -> Any:
        paths, levels = self._table.paths, self._table.levels
        chosen = {
            paths[i]: levels[i][number]
            for i, number in zip(self._columns, shape, strict=True)
            if number != UNSET
        }
        values = {path: level.value for path, level in chosen.items()}
        section = validate_section(self._name, assign(self._loaded.base[self._name], values))
        return self._finish(section, chosen)

    def _meet(self, shape: tuple[int, ...], combination: Combination) -> int:
        try:
            section = self._make(shape)
        except ValidationError as error:
            assignment = self._table.assignment(combination)
            raise self._loaded.explain(error, assignment) from None
        key = document_digest(section)
        number = self._by_digest.setdefault(key, len(self._digests))
        if number == len(self._digests):
            self._digests.append(key)
            self._shaped_by.append(shape)
            self._on_new(section)
        return number
