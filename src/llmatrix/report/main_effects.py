"""What each factor does to each metric, and which factors depend on each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmatrix.analysis.effects import Interaction, MainEffect, interactions, main_effects
from llmatrix.report.shown import Shown
from llmatrix.report.summary import Summary

MOST_TREATMENTS: Final = 400
"""Treatments above which interactions are left out: they would take longer than the page may."""


@dataclass(frozen=True, slots=True)
class MetricEffects:
    """Effects on one metric, over the factors that were varied."""

    metric: Shown
    main: tuple[MainEffect, ...]
    pairs: tuple[Interaction, ...]


def metric_effects(summary: Summary) -> list[MetricEffects]:
    """Give the effects on each metric of the short table that any treatment tells."""
    found = []
    for metric in summary.key_metrics:
        cells = {t.levels: t.sample(metric.name) for t in summary.treatments}
        if not any(cells.values()):
            continue
        main = tuple(main_effects(cells, summary.varied))
        few = len(cells) <= MOST_TREATMENTS
        pairs = tuple(interactions(cells, summary.varied)) if few else ()
        found.append(MetricEffects(metric, main, pairs))
    return found
