"""The data of the page's script: everything that a picture or the table of trials needs, once."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from llmatrix.plan.step import Step
from llmatrix.report.charts import charts
from llmatrix.report.distributions import PROBABILITIES, Distribution
from llmatrix.report.shown import WITHHELD
from llmatrix.report.summary import Summary
from llmatrix.results.record import Outcome


def payload(summary: Summary, curves: dict[str, list[Distribution]]) -> dict[str, Any]:
    """Give the page's data as plain JSON values: no NaN, six significant digits."""
    levels = [summary.levels_of(i) for i in range(len(summary.dataset.factors))]
    return {
        "simulated": summary.simulated,
        "factors": [
            {
                "path": path,
                "name": name,
                "levels": [_label(level) for level in levels[i]],
                "load": path.startswith("workload.load"),
            }
            for i, (path, name) in enumerate(
                zip(summary.dataset.factors, summary.factor_names, strict=True)
            )
        ],
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
        "treatments": [
            [levels[i].index(v) for i, v in enumerate(t.levels)] for t in summary.treatments
        ],
        "trials": _trials(summary),
        "probabilities": list(PROBABILITIES),
        "curves": {
            name: [
                [c.treatment, c.valid, c.count, [_short(v) for v in c.quantiles_ms]] for c in part
            ]
            for name, part in curves.items()
        },
        "steps": _steps(summary),
        "charts": charts(simulated=summary.simulated),
    }


def _label(level: str | None) -> str:
    return WITHHELD if level is None else level


def _short(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _trials(summary: Summary) -> list[dict[str, Any]]:
    places = {record.trial: i for i, t in enumerate(summary.treatments) for record in t.records}
    return [
        {
            "id": record.trial,
            "t": places[record.trial],
            "r": list(record.replicate.values()),
            "valid": record.valid,
            "why": ", ".join(check.name for check in record.failed_checks),
            "m": [_short(record.metrics.get(metric.name)) for metric in summary.metrics],
            "s": _short(sum(step.seconds for step in record.steps)),
        }
        for record in summary.dataset.records
    ]


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
