"""What every face of the report shows: treatments, main effects, leaders and objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from llmatrix.analysis.contrasts import Sample, unkeyed
from llmatrix.analysis.differences import Cell, Leader, average, leader
from llmatrix.analysis.replicates import Estimate, estimate, keyed_units
from llmatrix.report.shown import Shown, natural, short_paths, shown_metrics
from llmatrix.results.dataset import Dataset
from llmatrix.results.record import Record

Levels = tuple[str | None, ...]
"""One level of each factor, in the order of the factors; None where there is none."""


@dataclass(frozen=True)
class Treatment:
    """One combination of levels and the trials that measured it.

    Attributes:
        levels: of each factor.
        records: its replicates; every estimate is made of these.
        controls: its control trials: what they tell is drift. They are in no estimate, since no
            other treatment saw their traffic.
    """

    levels: Levels
    records: tuple[Record, ...]
    controls: tuple[Record, ...] = ()

    @cached_property
    def valid(self) -> tuple[Record, ...]:
        """The replicates whose figures can be trusted; every estimate is made of these only."""
        return tuple(record for record in self.records if record.valid)

    @property
    def trials(self) -> tuple[Record, ...]:
        """Its replicates, then its control trials; at least one."""
        return (*self.records, *self.controls)

    def sample(self, metric: str) -> Sample:
        """Give the metric's value for each independent unit of the valid trials, by its key.

        Treatments whose traffic was the same have units of the same keys, so that comparisons
        are made within each unit.
        """
        if metric not in self._samples:
            self._samples[metric] = self._sample(metric)
        return self._samples[metric]

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        return {}

    def _sample(self, metric: str) -> Sample:
        values: dict[tuple[int, int], float] = {}
        traffic: dict[tuple[int, int], int] = {}
        for record in self.valid:
            value = record.metrics.get(metric)
            if value is not None:
                number = (
                    record.replicate.get("deployment", 0),
                    record.replicate.get("workload", 0),
                )
                values[number], traffic[number] = value, record.traffic_seed
        if not values:
            return {}
        keyed: Sample = dict(keyed_units(values, traffic))
        one_deployment = len({deployment for deployment, _ in values}) == 1
        # Replicates of one seed are no repetitions of ours; they must not take each other's place.
        return unkeyed(values.values()) if one_deployment and len(keyed) < len(values) else keyed

    def estimate(self, metric: str) -> Estimate:
        """Estimate the metric's mean over replicates."""
        if metric not in self._estimates:
            self._estimates[metric] = estimate(list(self.sample(metric).values()))
        return self._estimates[metric]

    @cached_property
    def _estimates(self) -> dict[str, Estimate]:
        return {}

    def withheld(self, metric: str) -> str | None:
        """Give the first reason for which a valid trial does not tell the metric."""
        reasons = (record.withheld.get(metric) for record in self.valid)
        return next((reason for reason in reasons if reason), None)


@dataclass(frozen=True, slots=True)
class Effect:
    """The main effect of one factor: each level's mean over the others, and which is best."""

    factor: int
    levels: tuple[str | None, ...]
    estimates: Mapping[tuple[str | None, str], Estimate]
    """By level and metric; averaged over those combinations that every level was measured in."""
    leaders: Mapping[str, Leader]
    """By metric; the keys are levels as text."""

    def hint(self, level: str | None, metric: str) -> str:
        """Mark the best level with an arrow and its equals with ``~``; without replicates, none."""
        found = self.leaders.get(metric)
        if found is None or not found.judged:
            return ""
        if found.tied:
            return "~" if str(level) in {found.best, *found.tied} else ""
        return "\u2190" if str(level) == found.best else ""


class Kept(StrEnum):
    """Whether a treatment keeps an objective."""

    YES = "kept"
    NO = "missed"
    UNSURE = "unsure"
    """The interval reaches over the limit."""
    UNKNOWN = "unknown"
    """Withheld or not measured."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One service-level objective: a latency metric that must not exceed ``limit_ms``."""

    metric: Shown
    limit_ms: float

    @property
    def text(self) -> str:
        """Give it in words, the limit as the user wrote it."""
        return f"{self.metric.label} \u2264 {self.limit_ms:,.6g} ms"

    def judge(self, treatment: Treatment) -> Kept:
        """Hold a treatment against the limit, interval included."""
        found = treatment.estimate(self.metric.name)
        if found.mean is None:
            return Kept.UNKNOWN
        half_width = found.half_width or 0.0
        if found.mean + half_width <= self.limit_ms:
            return Kept.YES
        return Kept.NO if found.mean - half_width > self.limit_ms else Kept.UNSURE


@dataclass(frozen=True)
class Summary:
    """One experiment, arranged for reading."""

    dataset: Dataset

    @cached_property
    def metrics(self) -> list[Shown]:
        """Every metric that any record has."""
        return shown_metrics(name for r in self.dataset.records for name in r.metrics)

    @cached_property
    def key_metrics(self) -> list[Shown]:
        """The metrics of a short table: those that at least one trial has."""
        told = {n for r in self.dataset.records for n, v in r.metrics.items() if v is not None}
        withheld = {name for r in self.dataset.records for name in r.withheld}
        return [metric for metric in self.metrics if metric.key and metric.name in told | withheld]

    @cached_property
    def told_metrics(self) -> list[Shown]:
        """The metrics of the short table that some treatment's valid trials tell."""
        told = {
            n
            for r in self.dataset.records
            if r.valid
            for n, v in r.metrics.items()
            if v is not None
        }
        return [metric for metric in self.key_metrics if metric.name in told]

    @property
    def simulated(self) -> bool:
        """Whether any record comes from a simulated stack."""
        return any(record.simulated for record in self.dataset.records)

    @cached_property
    def invalid(self) -> tuple[Record, ...]:
        """The trials whose figures cannot be trusted."""
        return tuple(record for record in self.dataset.records if not record.valid)

    @property
    def valid_count(self) -> int:
        """How many trials can be trusted."""
        return len(self.dataset.records) - len(self.invalid)

    @cached_property
    def factor_names(self) -> tuple[str, ...]:
        """Factors' paths as short as keeps them apart."""
        short = short_paths(self.dataset.factors)
        return tuple(short[path] for path in self.dataset.factors)

    @cached_property
    def treatments(self) -> tuple[Treatment, ...]:
        """All treatments with at least one record, in the order of their levels."""
        groups: dict[Levels, list[Record]] = {}
        for record in self.dataset.records:
            groups.setdefault(self.levels(record), []).append(record)
        ordered = sorted(groups, key=lambda ls: [self._place(i, v) for i, v in enumerate(ls)])
        return tuple(
            Treatment(
                levels,
                records=tuple(record for record in groups[levels] if not record.control),
                controls=tuple(record for record in groups[levels] if record.control),
            )
            for levels in ordered
        )

    @cached_property
    def varied(self) -> tuple[int, ...]:
        """The factors that have more than one level among the records."""
        every = range(len(self.dataset.factors))
        return tuple(i for i in every if len({t.levels[i] for t in self.treatments}) > 1)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """The main effect of each factor that was varied beside others."""
        if len(self.varied) < 2:  # noqa: PLR2004 - with one factor, the treatments say it all
            return ()
        return tuple(self._effect(i) for i in self.varied)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The experiment's service-level objectives."""
        manifest = self.dataset.manifest
        limits = {
            f"{latency}_ms_{quantile}": seconds * 1000
            for name, seconds in (manifest.slo if manifest else {}).items()
            if seconds is not None
            for latency, _, quantile in [name.partition("_")]
        }
        return tuple(Objective(m, limits[m.name]) for m in shown_metrics(limits))

    def levels(self, record: Record) -> Levels:
        """Give a record's levels in the order of the factors."""
        mine = self.dataset.levels[record.trial]
        return tuple(mine[path] for path in self.dataset.factors)

    def levels_of(self, factor: int) -> tuple[str | None, ...]:
        """Give a factor's levels among the records, in the order of the file where it is known."""
        found = {treatment.levels[factor] for treatment in self.treatments}
        return tuple(sorted(found, key=lambda level: self._place(factor, level)))

    def _place(self, factor: int, level: str | None) -> tuple[int, tuple[int, float, str]]:
        manifest = self.dataset.manifest
        named = manifest.factors.get(self.dataset.factors[factor], []) if manifest else []
        place = named.index(level) if level in named else len(named)
        return place, natural(level)

    def compare(self, factors: Sequence[int], metric: str) -> dict[Levels, list[Cell]]:
        """Line up the combinations of ``factors`` on the blocks that all of them were measured in.

        A block is a combination of the other factors; only blocks with at least one valid trial
        under every combination count, so that nothing is compared on different ground.

        Returns:
            For each combination of ``factors``, one cell per common block, in the same order;
            empty lists where there is no common block.
        """
        found: dict[Levels, dict[Levels, Cell]] = {}
        for treatment in self.treatments:
            mine = tuple(treatment.levels[i] for i in factors)
            block = tuple(v for i, v in enumerate(treatment.levels) if i not in factors)
            found.setdefault(mine, {})
            if sample := treatment.sample(metric):
                found[mine][block] = sample
        measured = {key: cells for key, cells in found.items() if cells}
        common = _common(measured.values())
        return {key: [cells[block] for block in common] for key, cells in measured.items()}

    def _effect(self, factor: int) -> Effect:
        levels = self.levels_of(factor)
        estimates: dict[tuple[str | None, str], Estimate] = {}
        leaders: dict[str, Leader] = {}
        for metric in self.key_metrics:
            cells = {key[0]: part for key, part in self.compare([factor], metric.name).items()}
            for level in levels:
                mine = cells.get(level, [])
                estimates[level, metric.name] = average(mine) if mine else estimate([])
            named = {str(level): part for level, part in cells.items()}
            found = leader(named, lower=metric.lower) if metric.lower is not None else None
            if found is not None:
                leaders[metric.name] = found
        return Effect(factor, levels, estimates, leaders)


def _common(cells: Iterable[Mapping[Levels, Cell]]) -> list[Levels]:
    """Give the blocks that all have, in the order of the first."""
    first, *rest = [*cells] or [{}]
    return [block for block in first if all(block in other for other in rest)]
