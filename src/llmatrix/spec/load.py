"""Read an experiment file: from text to a checked experiment, or to every problem it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llmatrix.errors import Place, Problem, SpecError
from llmatrix.spec.check import Origins, check
from llmatrix.spec.experiment import Experiment, Treatment
from llmatrix.spec.faults import faults, problem, sentence
from llmatrix.spec.inline import Inliner
from llmatrix.spec.levels import Factor, Level
from llmatrix.spec.matrix import Combination, Matrix, possible_kinds, read_matrix
from llmatrix.spec.nodes import Entry, Source
from llmatrix.spec.overrides import override
from llmatrix.spec.paths import SECTIONS, TOP_LEVEL, fields, nearest
from llmatrix.spec.sections import ROOTS, assign, validate_section
from llmatrix.spec.source import read_source

__all__ = ["Factor", "Level", "Loaded", "assign", "load", "validate_section"]

_MOST_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Loaded:
    """An experiment file, checked.

    Attributes:
        experiment: what does not vary between trials, typed.
        base: the raw ``model``, ``stack`` and ``workload`` sections as plain data, with files
            taken in; ``{}`` for a section that only the matrix gives. It may lack what a factor
            gives, so it need not be valid by itself.
        factors: in the file's order.
        include, exclude: combinations, as paths to levels; those of ``exclude`` are levels of
            the factors, those of ``include`` need not be.
        path: the experiment file.
        source: the file as read, with overrides applied.
        matrix: the matrix as read, with the place of every level.
    """

    experiment: Experiment
    base: Mapping[str, Any]
    factors: tuple[Factor, ...]
    include: tuple[Combination, ...]
    exclude: tuple[Combination, ...]
    path: Path
    source: Source
    matrix: Matrix

    def explain(self, error: ValidationError, assignment: Combination) -> SpecError:
        """Say where in the file one combination of levels went wrong.

        Args:
            error: as raised by ``validate_section``.
            assignment: the combination's levels, of that section at least.
        """
        origins = Origins(self.source, self.matrix)
        section = error.errors(include_url=False)[0]["loc"][0]
        found = faults(error, ROOTS[str(section)])
        here = {p: level for p, level in assignment.items() if p.partition(".")[0] == section}
        told = ", ".join(f"{path}={level.label}" for path, level in here.items())
        problems = [origins.problem(fault, here) for fault in found]
        if told:
            problems = [
                Problem(p.place, p.path, f"in the combination {told}: {p.message}", p.suggestion)
                for p in problems
            ]
        return SpecError(*_in_order(problems, self.source.file))


def load(path: Path, *, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check an experiment file.

    Args:
        path: the file; files that it names are taken from its folder.
        overrides: ``path=value``, as given to ``--set``.

    Raises:
        SpecError: everything that is wrong with it, in the order of its lines.
    """
    source = override(read_source(path), overrides)
    entries = source.root.value if isinstance(source.root.value, dict) else {}
    strange = {key: entry for key, entry in entries.items() if key not in TOP_LEVEL}
    problems = [_unknown(key, entry) for key, entry in strange.items()]
    experiment = _settings(source, entries, problems)
    inliner = Inliner(path.parent, problems)
    base = {
        name: inliner.plain(entries[name].node, fields(Treatment)[name], name)
        if name in entries
        else {}
        for name in SECTIONS
    }
    matrix = read_matrix(entries.get("matrix"), possible_kinds(source.root), inliner)
    misspelt = {nearest(key, TOP_LEVEL) for key in strange} - entries.keys()
    sections = [name for name in SECTIONS if name not in misspelt]
    problems += check(sections, base, Origins(source, matrix))
    if problems or experiment is None:
        raise SpecError(*_in_order(problems, source.file))
    return Loaded(
        experiment=experiment,
        base=base,
        factors=matrix.factors,
        include=matrix.include,
        exclude=matrix.exclude,
        path=path,
        source=source,
        matrix=matrix,
    )


def _unknown(key: str, entry: Entry) -> Problem:
    near = nearest(key, TOP_LEVEL)
    advice = f"did you mean '{near}'?" if near else f"known here: {', '.join(TOP_LEVEL)}."
    return sentence(entry.place, key, "is not known here", advice)


def _settings(
    source: Source, entries: Mapping[str, Entry], problems: list[Problem]
) -> Experiment | None:
    data = {name: entries[name].node.plain() for name in Experiment.model_fields if name in entries}
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        problems += [
            problem(source.place(fault.keys, key=fault.at_key), fault)
            for fault in faults(error, Experiment)
        ]
    return None


def _in_order(problems: Sequence[Problem], file: str) -> list[Problem]:
    """Sort by line, say each once, and stop before nobody reads on."""
    unique = dict.fromkeys(problems)
    ordered = sorted(unique, key=lambda p: (p.place.line or 0, p.place.column or 0))
    more = len(ordered) - _MOST_TOLD
    if more > 0:
        ordered[_MOST_TOLD:] = [Problem(Place(file), "", f"and {more:,} more problems.")]
    return ordered
