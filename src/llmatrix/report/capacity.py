"""How much load each configuration bears: where it holds the objectives, and where its knee is.

A *configuration* is a combination of the levels of everything but the load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from llmatrix.analysis.held_load import HeldLoad, highest_held_load
from llmatrix.analysis.knee import Knee, knee
from llmatrix.report.summary import Levels, Objective, Summary, Treatment
from llmatrix.results.record import Record

KINDS: Final = {"rate": "req/s", "concurrency": "in flight"}
"""Kinds of a load that is one number, and their units."""
OVERLOADED: Final = "backlog_growth"
"""The check that fails where the server does not keep up with what arrives."""
_LATENCIES: Final = ("e2e_ms_p50", "ttft_ms_p50", "tpot_ms_p50")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one configuration bears.

    Attributes:
        levels: of the configuration; None in the place of each factor of the load.
        held: for each of the summary's objectives that it tells, the highest load that holds it.
        knee: of throughput over latency; None where there are too few loads.
    """

    levels: Levels
    held: Mapping[str, HeldLoad]
    knee: Knee | None

    @property
    def binding(self) -> tuple[str, HeldLoad] | None:
        """The objective that gives way first, and its load; None without an objective."""
        told = sorted(self.held.items(), key=lambda item: _rank(item[1]))
        return told[0] if told else None


@dataclass(frozen=True)
class Loads:
    """The load as it was varied over an experiment.

    Attributes:
        kind: ``rate`` or ``concurrency``.
        factors: the places of the factors that are the load.
        asked: the load of each treatment, in the order of ``Summary.treatments``.
    """

    summary: Summary
    kind: str
    factors: tuple[int, ...]
    asked: tuple[float | None, ...]

    @property
    def unit(self) -> str:
        """The unit of the loads."""
        return KINDS[self.kind]

    def configuration(self, levels: Levels) -> Levels:
        """Give a treatment's levels with those of the load left out."""
        return tuple(None if i in self.factors else level for i, level in enumerate(levels))

    @cached_property
    def capacities(self) -> tuple[Capacity, ...]:
        """What each configuration bears, in the order of the treatments; needs two loads."""
        groups: dict[Levels, dict[float, Treatment]] = {}
        for treatment, load in zip(self.summary.treatments, self.asked, strict=True):
            if load is not None:
                groups.setdefault(self.configuration(treatment.levels), {})[load] = treatment
        return tuple(
            self._capacity(levels, by_load)
            for levels, by_load in groups.items()
            if len(by_load) > 1
        )

    def _capacity(self, levels: Levels, by_load: Mapping[float, Treatment]) -> Capacity:
        held = {
            objective.metric.name: found
            for objective in self.summary.objectives
            if (found := _held(by_load, objective)) is not None
        }
        return Capacity(levels, held, _knee(by_load))


def loads(summary: Summary) -> Loads | None:
    """Give the load as it was varied; None where it was not, or is no single number."""
    told = [_asked(treatment.trials[0]) for treatment in summary.treatments]
    kinds = {found[0] for found in told if found}
    values = {found[1] for found in told if found}
    if len(kinds) != 1 or len(values) < 2:  # noqa: PLR2004 - one load is not varied
        return None
    paths = summary.dataset.factors
    factors = tuple(i for i in summary.varied if paths[i].startswith("workload.load"))
    return Loads(
        summary, kinds.pop(), factors, tuple(found[1] if found else None for found in told)
    )


def _asked(record: Record) -> tuple[str, float] | None:
    load = record.document.get("workload", {}).get("load")
    for kind in KINDS:
        value = load.get(kind) if isinstance(load, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return kind, float(value)
    return None


def _held(by_load: Mapping[float, Treatment], objective: Objective) -> HeldLoad | None:
    name = objective.metric.name
    samples = [(load, treatment.sample(name)) for load, treatment in by_load.items()]
    overloaded = [load for load, treatment in by_load.items() if _is_overloaded(treatment)]
    return highest_held_load(samples, objective.limit_ms, overloaded=overloaded)


def _is_overloaded(treatment: Treatment) -> bool:
    failed = [check.name for record in treatment.records for check in record.failed_checks]
    return not treatment.valid and OVERLOADED in failed


def _knee(by_load: Mapping[float, Treatment]) -> Knee | None:
    latency = _first_told(list(by_load.values()), _LATENCIES)
    if latency is None:
        return None
    pairs = {}
    for load, treatment in by_load.items():
        output, slow = treatment.sample("output_tokens_per_s"), treatment.sample(latency)
        pairs[load] = {unit: (output[unit], slow[unit]) for unit in output if unit in slow}
    return knee(pairs)


def _first_told(treatments: Sequence[Treatment], names: Sequence[str]) -> str | None:
    return next((n for n in names if any(t.sample(n) for t in treatments)), None)


def _rank(held: HeldLoad) -> tuple[float, bool]:
    return (-1.0 if held.load is None else held.load, held.at_least)
