"""Combinations of levels to resolved, validated sections of the document, each once.

A treatment's document is three sections. Most of a million treatments share theirs, so each
distinct section is validated and hashed once, whatever the number of treatments it is in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import ValidationError

from llmatrix.plan.digest import digest, document_digest
from llmatrix.plan.treatments import UNSET, Combination, LevelTable
from llmatrix.spec.experiment import Model, Treatment
from llmatrix.spec.load import Loaded, assign, validate_section
from llmatrix.spec.stacks import Stack
from llmatrix.spec.workloads import Workload

SectionName = Literal["model", "stack", "workload"]
SECTIONS: Final[tuple[SectionName, ...]] = ("model", "stack", "workload")


@dataclass(slots=True)
class _Variants:
    """The distinct forms of one section, by the numbers of the levels that shape it."""

    columns: tuple[int, ...]
    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)
    by_digest: dict[str, int] = field(default_factory=dict)
    sections: list[Any] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


class Resolver:
    """Turns combinations into treatments, and remembers every distinct section."""

    def __init__(self, loaded: Loaded, table: LevelTable) -> None:
        self._loaded = loaded
        self._table = table
        self._variants = {
            name: _Variants(
                tuple(i for i, path in enumerate(table.paths) if path.split(".")[0] == name)
            )
            for name in SECTIONS
        }

    def sections(self, combination: Combination) -> tuple[int, int, int]:
        """Give the variants of model, stack and workload that a combination selects.

        Raises:
            SpecError: the levels do not go together; it names their places in the file.
        """
        model, stack, workload = (self._variant(name, combination) for name in SECTIONS)
        return model, stack, workload

    def _variant(self, name: SectionName, combination: Combination) -> int:
        variants = self._variants[name]
        numbers = tuple([combination[i] for i in variants.columns])
        known = variants.numbers.get(numbers)
        return self._make(name, numbers, combination) if known is None else known

    def _make(self, name: SectionName, numbers: tuple[int, ...], combination: Combination) -> int:
        variants = self._variants[name]
        levels = {
            self._table.paths[i]: self._table.levels[i][combination[i]].value
            for i in sorted(variants.columns, key=lambda i: self._table.paths[i].count("."))
            if combination[i] != UNSET
        }
        try:
            section = validate_section(name, assign(self._loaded.base[name], levels))
        except ValidationError as error:
            assignment = self._table.assignment(combination)
            raise self._loaded.explain(error, assignment) from None
        key = document_digest(section)
        number = variants.by_digest.get(key)
        if number is None:
            number = len(variants.sections)
            variants.by_digest[key] = number
            variants.sections.append(section)
            variants.digests.append(key)
        variants.numbers[numbers] = number
        return number

    def model(self, variant: int) -> Model:
        """Give a model section by its number."""
        return self._variants["model"].sections[variant]  # type: ignore[no-any-return]

    def stack(self, variant: int) -> Stack:
        """Give a stack section by its number."""
        return self._variants["stack"].sections[variant]  # type: ignore[no-any-return]

    def workload(self, variant: int) -> Workload:
        """Give a workload section by its number."""
        return self._variants["workload"].sections[variant]  # type: ignore[no-any-return]

    def workload_digest(self, variant: int) -> str:
        """Give the hash of a workload section by its number."""
        return self._variants["workload"].digests[variant]

    def treatment(self, variants: tuple[int, int, int]) -> Treatment:
        """Put a treatment together from sections that were validated already."""
        model, stack, workload = variants
        return Treatment.model_construct(
            model=self.model(model), stack=self.stack(stack), workload=self.workload(workload)
        )

    def treatment_digest(self, variants: tuple[int, int, int]) -> str:
        """Hash a treatment by the hashes of its sections."""
        names = zip(SECTIONS, variants, strict=True)
        return digest(*(self._variants[name].digests[number] for name, number in names))
