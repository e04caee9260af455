"""Everything that the pictures show beside the summary: read from the store, then computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from llmatrix.report.capacity import Loads, loads
from llmatrix.report.distributions import Distribution, distributions
from llmatrix.report.main_effects import MetricEffects, metric_effects
from llmatrix.report.request_rows import request_rows
from llmatrix.report.server_series import Series, server_series
from llmatrix.report.summary import Summary
from llmatrix.report.tradeoffs import TradeOff, tradeoffs
from llmatrix.report.trial_requests import Drawn, trial_requests


@dataclass(frozen=True, slots=True)
class Measured:
    """What was read and computed.

    Attributes:
        curves: distributions of latencies, by measure.
        requests: by trial.
        series: what the servers said, by trial.
        tradeoffs: pairs of metrics with their fronts.
        varied: the load as it was varied, or None.
        effects: by metric.
        problems: what could not be read, a clear sentence each.
    """

    curves: Mapping[str, Sequence[Distribution]]
    requests: Mapping[str, Drawn]
    series: Mapping[str, Sequence[Series]]
    tradeoffs: Sequence[TradeOff]
    varied: Loads | None
    effects: Sequence[MetricEffects]
    problems: tuple[str, ...]


def measure(summary: Summary) -> Measured:
    """Read and compute; what cannot be read is told and left out."""
    problems = list(summary.dataset.request_problems())
    curves: Mapping[str, Sequence[Distribution]] = {}
    requests: Mapping[str, Drawn] = {}
    series: Mapping[str, Sequence[Series]] = {}
    try:
        with request_rows(summary) as connection:
            curves = distributions(summary, connection)
            requests = trial_requests(summary, connection)
    except duckdb.Error as error:
        problems.append(f"the requests cannot be read, so none is drawn: {_reason(error)}")
    try:
        series = server_series(summary)
    except duckdb.Error as error:
        problems.append(f"what the servers said of themselves cannot be read: {_reason(error)}")
    return Measured(
        curves=curves,
        requests=requests,
        series=series,
        tradeoffs=tradeoffs(summary),
        varied=loads(summary),
        effects=metric_effects(summary),
        problems=tuple(problems),
    )


def _reason(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
