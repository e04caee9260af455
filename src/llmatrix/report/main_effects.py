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


def no_interactions(summary: Summary) -> str:
    """Say why interactions are left out, and what to do; empty where they are told."""
    count = len(summary.treatments)
    if count <= MOST_TREATMENTS or len(summary.varied) < 2:  # noqa: PLR2004 - a pair
        return ""
    return (
        f"Which factors depend on each other is not computed above {MOST_TREATMENTS:,} treatments, "
        f"and there are {count:,}: it would take longer than the page may. See two factors at a "
        f"time in the page's heatmap, and judge a pair of levels with llmatrix compare DIR "
        f"--a FACTOR=LEVEL --b FACTOR=LEVEL --only OTHER=LEVEL."
    )


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
