"""The two sides of a comparison: which trials they are made of, and whether they may be compared.

A side is an experiment, or those of its trials that have chosen levels. Its *cells* are its
treatments by the factors that both sides have and that neither side chose a level of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from llmatrix.analysis.contrasts import Sample
from llmatrix.analysis.replicates import keyed_units
from llmatrix.errors import UserError
from llmatrix.report.shown import natural, short_paths
from llmatrix.results.dataset import Dataset
from llmatrix.results.places import join
from llmatrix.results.record import Record

Levels = tuple[str | None, ...]
ALLOWED: Final = ("workload", "harness", "simulated")
"""What may differ between the sides if the user says so."""
_SHOWN: Final = 3
_LUCK: Final = "workload.seed"
"""Another seed is other luck under the same workload."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: as the user calls it: ``A`` or ``B``.
        dataset: where its trials are.
        chosen: labels by factor; a trial is of the side if its level is among them, for each.
    """

    name: str
    dataset: Dataset
    chosen: Mapping[str, frozenset[str]]

    @property
    def place(self) -> str:
        """Where it was read from."""
        return join(self.dataset.store.url, self.dataset.experiment)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The side's measured replicates, valid or not; control trials tell drift, no level."""
        levels = self.dataset.levels
        return tuple(
            record
            for record in self.dataset.records
            if not record.control
            and all(levels[record.trial].get(f) in labels for f, labels in self.chosen.items())
        )

    @property
    def valid(self) -> tuple[Record, ...]:
        """The trials whose figures can be trusted; nothing else is compared."""
        return tuple(record for record in self.records if record.valid)

    @property
    def failures(self) -> int:
        """How many of its trials could not be measured at all."""
        return sum(
            all(failure.levels.get(f) in labels for f, labels in self.chosen.items())
            for failure in self.dataset.failures
        )

    @property
    def varied(self) -> tuple[str, ...]:
        """The factors that have more than one level among its trials."""
        levels = [self.dataset.levels[record.trial] for record in self.records]
        return tuple(f for f in self.dataset.factors if len({each.get(f) for each in levels}) > 1)

    def cells(self, factors: Sequence[str]) -> dict[Levels, list[Record]]:
        """Give the valid trials by their levels of ``factors``."""
        found: dict[Levels, list[Record]] = {}
        for record in self.valid:
            mine = self.dataset.levels[record.trial]
            found.setdefault(tuple(mine.get(f) for f in factors), []).append(record)
        return found


@dataclass(frozen=True, slots=True)
class Matched:
    """Both sides' valid trials, cell by cell.

    Attributes:
        factors: whose levels name a cell.
        cells: levels, trials of A, trials of B; at least one of each.
        unmatched: cells that only one side has valid trials of, a clear sentence each.
        differs: what else is not the same on both sides, as ``path: A → B``.
    """

    factors: tuple[str, ...]
    cells: tuple[tuple[Levels, tuple[Record, ...], tuple[Record, ...]], ...]
    unmatched: tuple[str, ...]
    differs: tuple[str, ...]


def match(a: Side, b: Side, *, allow: Iterable[str] = ()) -> Matched:
    """Line up the treatments that both sides have.

    Args:
        a: the reference.
        b: what is held against it.
        allow: of ``ALLOWED``: differences that the user puts up with.

    Raises:
        UserError: they have nothing in common, or what they have may not be compared.
    """
    for side in (a, b):
        if not side.valid:
            raise UserError(f"{side.name} ({side.place}) has {_no_valid(side)}")
    if {record.trial for record in a.valid} & {record.trial for record in b.valid}:
        raise UserError(
            f"A and B share trials of {a.place}; name two experiments, or choose two levels of a "
            f"factor: --a factor=level --b factor=level"
        )
    allowed = set(allow)
    if "simulated" not in allowed:
        _refuse_simulated(a, b)
    factors = _common_factors(a, b)
    left, right = a.cells(factors), b.cells(factors)
    common = [levels for levels in left if levels in right]
    if not common:
        raise UserError(_nothing_in_common(a, b, factors, left, right))
    cells = tuple((lv, tuple(left[lv]), tuple(right[lv])) for lv in sorted(common, key=_order))
    differs = _differences(cells)
    _refuse_unlike(differs, allowed)
    unmatched = tuple(
        f"only {side.name} has valid trials of {name_cell(factors, levels)}"
        for side, mine, theirs in ((a, left, right), (b, right, left))
        for levels in sorted(mine, key=_order)
        if levels not in theirs
    )
    told = tuple(f"{path}: {x} \u2192 {y}" for path, (x, y) in differs.items())
    return Matched(factors, cells, unmatched, told)


def sample(records: Iterable[Record], metric: str) -> Sample:
    """Give a metric's value for each independent unit; empty where no trial tells it."""
    values: dict[tuple[int, int], float] = {}
    traffic: dict[tuple[int, int], int] = {}
    for record in records:
        value = record.metrics.get(metric)
        if value is not None:
            which = (record.replicate.get("deployment", 0), record.replicate.get("workload", 0))
            values[which], traffic[which] = value, record.traffic_seed
    return keyed_units(values, traffic) if values else {}


def name_cell(factors: Sequence[str], levels: Levels) -> str:
    """Name a treatment: ``config=queue question_len=100``."""
    short = short_paths(factors)
    told = [f"{short[f]}={level}" for f, level in zip(factors, levels, strict=True)]
    return " ".join(told) or "the only treatment"


def _order(levels: Levels) -> list[tuple[int, float, str]]:
    return [natural(level) for level in levels]


def _no_valid(side: Side) -> str:
    if not side.records:
        of = " of the chosen levels" if side.chosen else ""
        return f"no measured trial{of}; run it first, or choose other levels"
    checks = dict.fromkeys(check.name for record in side.records for check in record.failed_checks)
    return (
        f"no valid trial: all {len(side.records)} failed a check ({', '.join(checks)}); their "
        f"figures cannot be trusted, so nothing can be compared"
    )


def _refuse_simulated(a: Side, b: Side) -> None:
    kinds = {side.name: {record.simulated for record in side.valid} for side in (a, b)}
    if kinds["A"] != kinds["B"]:
        simulated = "A" if True in kinds["A"] else "B"
        other = "B" if simulated == "A" else "A"
        raise UserError(
            f"{simulated} is simulated and {other} is measured on a real server; a simulation says "
            f"nothing about a real one. To compare them all the same: --allow simulated"
        )


def _common_factors(a: Side, b: Side) -> tuple[str, ...]:
    chosen = {*a.chosen, *b.chosen}
    common = tuple(f for f in a.dataset.factors if f in b.dataset.factors and f not in chosen)
    for side, other in ((a, b), (b, a)):
        for factor in side.varied:
            if factor not in common:
                labels = {side.dataset.levels[r.trial].get(factor) for r in side.records}
                shown = ", ".join(str(label) for label in sorted(labels, key=natural)[:_SHOWN])
                flag = f"--{side.name.lower()} {factor}=…"
                how = "chose one level of it" if factor in other.chosen else "has no such factor"
                raise UserError(
                    f"{side.name} varies {factor} ({shown}) and {other.name} {how}; choose one "
                    f"level: {flag}"
                )
    return common


def _nothing_in_common(
    a: Side, b: Side, factors: Sequence[str], left: Iterable[Levels], right: Iterable[Levels]
) -> str:
    if not factors:
        return "A and B have no factor in common, and no treatment"
    told = []
    for side, cells in ((a, left), (b, right)):
        named = [name_cell(factors, levels) for levels in sorted(cells, key=_order)]
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        told.append(f"{side.name} has {'; '.join(named[:_SHOWN])}{more}")
    return (
        f"A and B have no valid treatment in common: {'. '.join(told)}. Choose what to hold "
        f"against what by --a factor=level and --b factor=level"
    )


def _differences(
    cells: Sequence[tuple[Levels, tuple[Record, ...], tuple[Record, ...]]],
) -> dict[str, tuple[str, str]]:
    """Give what differs in the resolved documents: path → the first differing values."""
    found: dict[str, tuple[str, str]] = {}
    for _, left, right in cells:
        mine, theirs = dict(_leaves(_identity(left[0]))), dict(_leaves(_identity(right[0])))
        for path in {**mine, **theirs}:
            pair = mine.get(path), theirs.get(path)
            if pair[0] != pair[1]:
                found.setdefault(path, (_short(pair[0]), _short(pair[1])))
    return found


def _refuse_unlike(differs: Mapping[str, tuple[str, str]], allowed: set[str]) -> None:
    what = {
        "workload": [p for p in differs if p.startswith("workload.") and p != _LUCK],
        "harness": [p for p in differs if p == "versions.harness"],
    }
    for kind, paths in what.items():
        if paths and kind not in allowed:
            told = "; ".join(
                f"{path} is {differs[path][0]} in A and {differs[path][1]} in B"
                for path in paths[:_SHOWN]
            )
            reason = {
                "workload": "the same treatments were measured under different workloads",
                "harness": "the sides were measured by different versions of the harness",
            }[kind]
            raise UserError(f"{reason}: {told}. To compare them all the same: --allow {kind}")


def _identity(record: Record) -> dict[str, Any]:
    return {**record.document, "versions": record.versions}


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(document, dict):
        yield path, document
        return
    for key, value in document.items():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _short(value: Any) -> str:
    if value is None:
        return "absent"
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}\u2026"  # noqa: PLR2004 - one cell of a table
