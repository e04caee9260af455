"""The data of the page's script: everything that a picture or a table needs, once.

Rows are lists in the order of the lists they refer to (factors, metrics, treatments, trials), and
text that many trials share stands once: a page of a thousand trials stays small.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from llmatrix.analysis.contrasts import Contrast
from llmatrix.plan.step import Step
from llmatrix.report import trial_requests as packing
from llmatrix.report.capacity import Loads
from llmatrix.report.charts import charts
from llmatrix.report.distributions import PROBABILITIES
from llmatrix.report.main_effects import MetricEffects
from llmatrix.report.measured import Measured
from llmatrix.report.server_series import SOURCES, Series
from llmatrix.report.shown import WITHHELD
from llmatrix.report.summary import Summary
from llmatrix.report.tradeoffs import TradeOff
from llmatrix.results.record import Outcome, Record

Json = dict[str, Any]


def payload(summary: Summary, measured: Measured) -> Json:
    """Give the page's data as plain JSON values: no NaN, five significant digits."""
    return {
        "simulated": summary.simulated,
        "factors": _factors(summary),
        "varied": list(summary.varied),
        "metrics": [
            {
                "name": m.name,
                "label": m.label,
                "unit": m.unit,
                "title": m.title,
                "lower": m.lower,
                "key": m.key,
            }
            for m in summary.metrics
        ],
        "objectives": [
            [place[o.metric.name], _short(o.limit_ms)]
            for place in [_places(summary)]
            for o in summary.objectives
            if o.metric.name in place
        ],
        "treatments": _treatments(summary),
        **_estimates(summary),
        "trials": [_trial(summary, record, place) for record, place in _placed(summary)],
        "step_names": list(Step),
        "outcomes": list(Outcome),
        "checks": _checks(summary),
        "probabilities": list(PROBABILITIES),
        "curves": {
            name: [
                [c.treatment, c.valid, c.count, [_short(v) for v in c.quantiles_ms]] for c in part
            ]
            for name, part in measured.curves.items()
        },
        "requests": {
            "unit": packing.UNIT_MS,
            "steps": packing.STEPS,
            "absent": packing.ABSENT,
            "figures": packing.FIGURES,
            "phases": packing.PHASES,
            "of": {
                trial: [d.total, d.count, d.packed, d.servers]
                for trial, d in measured.requests.items()
            },
        },
        "series": {
            "sources": [[source.label, source.unit] for source in SOURCES],
            "of": {
                trial: [_series(each) for each in lines] for trial, lines in measured.series.items()
            },
        },
        "steps": _steps(summary),
        "tradeoffs": _tradeoffs(summary, measured.tradeoffs),
        "loads": _loads(summary, measured.varied),
        "effects": [_effects(summary, each) for each in measured.effects],
        "charts": charts(simulated=summary.simulated),
    }


def _factors(summary: Summary) -> list[Json]:
    return [
        {
            "path": path,
            "name": name,
            "levels": [_label(level) for level in summary.levels_of(i)],
            "load": path.startswith("workload.load"),
        }
        for i, (path, name) in enumerate(
            zip(summary.dataset.factors, summary.factor_names, strict=True)
        )
    ]


def _label(level: str | None) -> str:
    return WITHHELD if level is None else level


def _short(value: float | None, digits: int = 5) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _series(told: Series) -> list[Any]:
    """Give [server, moments, [source, values]...]."""
    moments = [_short(at, 4) for at in told.at_s]
    values = ([source, [_short(v, 3) for v in line]] for source, line in told.values.items())
    return [told.server, moments, *values]


def _places(summary: Summary) -> dict[str, int]:
    return {metric.name: place for place, metric in enumerate(summary.metrics)}


def _treatments(summary: Summary) -> list[list[int]]:
    levels = [summary.levels_of(i) for i in range(len(summary.dataset.factors))]
    places = [{level: place for place, level in enumerate(part)} for part in levels]
    return [[places[i][v] for i, v in enumerate(t.levels)] for t in summary.treatments]


def _estimates(summary: Summary) -> Json:
    """Give each treatment's mean and half-width of every metric."""
    found = [[t.estimate(metric.name) for metric in summary.metrics] for t in summary.treatments]
    return {
        "means": [[_short(each.mean) for each in row] for row in found],
        "halves": [[_short(each.half_width) for each in row] for row in found],
    }


def _placed(summary: Summary) -> list[tuple[Record, int]]:
    places = {record.trial: i for i, t in enumerate(summary.treatments) for record in t.trials}
    return [(record, places[record.trial]) for record in summary.dataset.records]


def _trial(summary: Summary, record: Record, place: int) -> Json:
    steps, outcomes = list(Step), list(Outcome)
    return {
        "id": record.trial,
        "t": place,
        "r": [record.replicate.get("deployment", 0), record.replicate.get("workload", 0)],
        "c": record.control,
        "valid": record.valid,
        "why": ", ".join(check.name for check in record.failed_checks),
        "m": [_short(record.metrics.get(metric.name)) for metric in summary.metrics],
        "w": [_short(end) for end in record.window_s],
        "at": _short(record.started_at, 12),
        "s": [
            [steps.index(step.step), outcomes.index(step.outcome), _short(step.seconds, 3)]
            for step in record.steps
        ],
    }


def _checks(summary: Summary) -> Json:
    """Give every trial's checks as [name, figure, limit, verdict, advice], texts by their place."""
    texts: dict[str, int] = {}

    def place(text: str) -> int:
        return texts.setdefault(text, len(texts))

    of = {
        record.trial: [
            [place(c.name), _short(c.figure, 4), place(c.limit), place(c.verdict), place(c.advice)]
            for c in record.checks
        ]
        for record in summary.dataset.records
    }
    return {"texts": list(texts), "of": of}


def _steps(summary: Summary) -> list[list[Any]]:
    """Give [step, outcome, seconds, count] over all trials; failed tries count as failed."""
    seconds: dict[tuple[Step, Outcome], list[float]] = defaultdict(list)
    for record in summary.dataset.records:
        for step in record.steps:
            seconds[step.step, step.outcome].append(step.seconds)
        for attempt in record.attempts:
            seconds[attempt.step, Outcome.FAILED].append(attempt.seconds)
    for failure in summary.dataset.failures:
        for attempt in failure.attempts:
            seconds[attempt.step, Outcome.FAILED].append(attempt.seconds)
    return [
        [step, outcome, _short(sum(found)), len(found)]
        for step in Step
        for outcome in Outcome
        if (found := seconds.get((step, outcome)))
    ]


def _tradeoffs(summary: Summary, found: Sequence[TradeOff]) -> list[Json]:
    places = _places(summary)
    return [
        {
            "title": each.title,
            "x": places[each.x.name],
            "y": places[each.y.name],
            "points": {
                place: [point.on_front, _short(point.share, 3)]
                for place, point in each.points.items()
            },
        }
        for each in found
    ]


def _loads(summary: Summary, varied: Loads | None) -> Json | None:
    if varied is None:
        return None
    first = {
        varied.configuration(t.levels): i for i, t in reversed([*enumerate(summary.treatments)])
    }
    return {
        "kind": varied.kind,
        "unit": varied.unit,
        "factors": list(varied.factors),
        "asked": [_short(load) for load in varied.asked],
        "knees": [
            [
                first[each.levels],
                _short(each.knee.load),
                _short(each.knee.share, 3),
                each.knee.at_edge,
            ]
            for each in varied.capacities
            if each.knee is not None
        ],
    }


def _effects(summary: Summary, found: MetricEffects) -> Json:
    """Give main effects as [factor, p, levels' mean, half-width, effect, half-width]; and pairs."""
    return {
        "m": _places(summary)[found.metric.name],
        "main": [
            [
                effect.factor,
                _short(effect.p, 3),
                [
                    [_label(level), *_interval(mean), *_interval(effect.effects[level])]
                    for level, mean in effect.means.items()
                ],
            ]
            for effect in found.main
        ],
        "pairs": [[*pair.factors, _short(pair.p, 3), _short(pair.span)] for pair in found.pairs],
    }


def _interval(found: Contrast) -> tuple[float | None, float | None]:
    each = found.estimate()
    return _short(each.mean), _short(each.half_width)
