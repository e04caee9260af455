"""A against B in every metric: estimates, verdicts and regressions, as one document.

Metrics are averaged over the treatments that both sides have, every treatment counting the same;
or each treatment is judged by itself. All verdicts of one comparison hold together (Holm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatrix.analysis.comparisons import Better, Judged, Verdict, compare, judge
from llmatrix.analysis.contrasts import MIN_UNITS, Sample
from llmatrix.errors import UserError
from llmatrix.report.shown import Shown, shown_metrics
from llmatrix.report.sides import Matched, Side, name_cell, sample
from llmatrix.results.record import Record
from llmatrix.spec.paths import nearest


@dataclass(frozen=True, slots=True)
class Row:
    """One metric, over all common treatments or of one of them.

    Attributes:
        metric: what is compared.
        treatment: its name; empty for the average.
        judged: the figures and what can be said of them.
        treatments: how many it is averaged over.
    """

    metric: Shown
    treatment: str
    judged: Judged
    treatments: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B.

    Attributes:
        a, b: the sides; A is the reference.
        matched: the trials, treatment by treatment.
        rows: what was compared.
        notes: what was left out, a clear sentence each; nothing is left out silently.
        confidence: of all verdicts together.
        thresholds: by metric, as a share of A.
    """

    a: Side
    b: Side
    matched: Matched
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    confidence: float
    thresholds: Mapping[str, float]

    @property
    def regressions(self) -> tuple[Row, ...]:
        """Where B is surely worse than A by more than the threshold."""
        return tuple(row for row in self.rows if row.judged.regression)

    @property
    def is_judged(self) -> bool:
        """Whether there were replicates enough for any verdict."""
        return any(row.judged.verdict is not Verdict.UNJUDGED for row in self.rows)

    @property
    def simulated(self) -> bool:
        """Whether any figure comes from a simulated server."""
        return any(record.simulated for side in (self.a, self.b) for record in side.valid)


def compare_sides(
    a: Side,
    b: Side,
    matched: Matched,
    *,
    metrics: Sequence[str] = (),
    thresholds: Mapping[str, float],
    confidence: float,
    each: bool = False,
) -> Comparison:
    """Compare what ``match`` lined up.

    Args:
        a: the reference.
        b: what is held against it.
        matched: of ``match``.
        metrics: names; empty for those of a short table.
        thresholds: by metric, and under ``""`` for all others.
        confidence: of all verdicts together.
        each: judge every treatment by itself, not their average.

    Raises:
        UserError: a metric is asked for that a side does not have, or there is none in common.
    """
    wanted = _metrics(matched, metrics)
    limits = {metric.name: thresholds.get(metric.name, thresholds[""]) for metric in wanted}
    notes = [*_left_out(a), *_left_out(b), *matched.unmatched]
    lines: list[_Line] = []
    for metric in wanted:
        cells = _cells(matched, metric.name)
        if each:
            lines += [_Line(metric, name, (pair,)) for name, pair in cells.items()]
            continue
        kept = _with_replicates(cells)
        notes += _left_out_of_average(matched, metric, cells, kept)
        if kept:
            lines.append(_Line(metric, "", tuple(kept.values())))
    if not lines:
        names = ", ".join(metric.name for metric in wanted)
        raise UserError(f"no treatment tells any of {names} on both sides; their records say why")
    rows = _judged(lines, limits, confidence)
    return Comparison(a, b, matched, rows, tuple(notes), confidence, limits)


@dataclass(frozen=True, slots=True)
class _Line:
    """What one row compares: A's and B's replicates, treatment by treatment."""

    metric: Shown
    treatment: str
    pairs: tuple[tuple[Sample, Sample], ...]


def _judged(
    lines: Sequence[_Line], limits: Mapping[str, float], confidence: float
) -> tuple[Row, ...]:
    """Compare each line, and judge all of them together."""
    compared = [
        compare(
            [left for left, _ in line.pairs],
            [right for _, right in line.pairs],
            better=_better(line.metric),
            threshold=limits[line.metric.name],
        )
        for line in lines
    ]
    return tuple(
        Row(line.metric, line.treatment, judged, len(line.pairs))
        for line, judged in zip(lines, judge(compared, confidence=confidence), strict=True)
    )


def _left_out_of_average(
    matched: Matched,
    metric: Shown,
    cells: Mapping[str, tuple[Sample, Sample]],
    kept: Mapping[str, tuple[Sample, Sample]],
) -> Iterable[str]:
    """Say which common treatments the average of a metric does without."""
    if dropped := [name for name in cells if name not in kept]:
        yield (
            f"{metric.label} leaves out {_counted(len(dropped), 'treatment')} with fewer than "
            f"two valid replicates on a side: {_listed(dropped)}"
        )
    if missing := len(matched.cells) - len(cells):
        yield (
            f"{metric.label} is withheld in {_counted(missing, 'treatment')} of "
            f"{len(matched.cells)}, on one side or both"
        )


def document(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison as plain data, for programs; version 1."""
    return {
        "version": 1,
        "a": _side(comparison.a),
        "b": _side(comparison.b),
        "simulated": comparison.simulated,
        "confidence": comparison.confidence,
        "treatments": len(comparison.matched.cells),
        "differs": list(comparison.matched.differs),
        "notes": list(comparison.notes),
        "judged": comparison.is_judged,
        "regressions": len(comparison.regressions),
        "rows": [_row(row, comparison.confidence) for row in comparison.rows],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "place": side.place,
        "chosen": {factor: sorted(labels) for factor, labels in side.chosen.items()},
        "valid": len(side.valid),
        "invalid": len(side.records) - len(side.valid),
        "failed": side.failures,
    }


def _row(row: Row, confidence: float) -> dict[str, Any]:
    judged, found = row.judged, row.judged.comparison
    interval = found.difference.interval(confidence)
    return {
        "metric": row.metric.name,
        "unit": row.metric.unit,
        "better": found.better,
        "treatment": row.treatment or None,
        "treatments": row.treatments,
        "a": {"n": found.a.n, "mean": found.a.mean, "half_width": found.a.half_width},
        "b": {"n": found.b.n, "mean": found.b.mean, "half_width": found.b.half_width},
        "paired": found.paired,
        "difference": found.difference.value,
        "difference_interval": None if interval is None else list(interval),
        "change": found.change,
        "change_interval": None
        if found.ratio is None or found.ratio.low is None or found.ratio.high is None
        else [found.ratio.low - 1, found.ratio.high - 1],
        "detectable": found.detectable,
        "p": found.p,
        "p_adjusted": judged.p_adjusted,
        "verdict": str(judged.verdict),
        "threshold": found.threshold,
        "regression": judged.regression,
        "p_regression": found.p_regression,
        "p_regression_adjusted": judged.p_regression_adjusted,
    }


def _metrics(matched: Matched, asked: Sequence[str]) -> list[Shown]:
    left = _told(record for _, records, _ in matched.cells for record in records)
    right = _told(record for _, _, records in matched.cells for record in records)
    for name in asked:
        for side, has in (("A", left), ("B", right)):
            if name not in has:
                near = nearest(name, sorted(has))
                advice = f"did you mean {near}?" if near else "`llmatrix query --columns` lists all"
                raise UserError(f"{side} tells no metric '{name}'; {advice}")
    if asked:
        return shown_metrics(dict.fromkeys(asked))
    both = left & right
    found = [metric for metric in shown_metrics(both) if metric.key] or shown_metrics(both)
    if not found:
        raise UserError(
            f"A and B have no metric in common: A tells {_listed(sorted(left))}, B "
            f"{_listed(sorted(right))}; they were recorded in other units or by other versions"
        )
    return found


def _told(records: Iterable[Record]) -> set[str]:
    """Give the metrics that any of the trials tells."""
    every = (record.metrics.items() for record in records)
    return {name for metrics in every for name, value in metrics if value is not None}


def _better(metric: Shown) -> Better:
    if metric.lower is None:
        return "neither"
    return "lower" if metric.lower else "higher"


def _cells(matched: Matched, metric: str) -> dict[str, tuple[Sample, Sample]]:
    found = {}
    for levels, left, right in matched.cells:
        pair = sample(left, metric), sample(right, metric)
        if pair[0] and pair[1]:
            found[name_cell(matched.factors, levels)] = pair
    return found


def _with_replicates(
    cells: Mapping[str, tuple[Sample, Sample]],
) -> Mapping[str, tuple[Sample, Sample]]:
    """Keep what can be judged; where nothing can, all."""
    kept = {n: pair for n, pair in cells.items() if min(map(len, pair)) >= MIN_UNITS}
    return kept or cells


def _left_out(side: Side) -> Iterable[str]:
    if invalid := len(side.records) - len(side.valid):
        checks = dict.fromkeys(
            check.name for record in side.records for check in record.failed_checks
        )
        yield (
            f"{side.name}: {_counted(invalid, 'invalid trial')} of {len(side.records)} left out "
            f"({', '.join(checks)})"
        )
    if side.failures:
        yield f"{side.name}: {_counted(side.failures, 'trial')} could not be measured"
    yield from (f"{side.name}: {problem}" for problem in side.dataset.problems)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
