"""The trade-offs that people deploy by: pairs of metrics, and who is on their front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmatrix.analysis.pareto import FrontPoint, pareto_front
from llmatrix.report.shown import Shown
from llmatrix.report.summary import Summary

_PAIRS: Final = (
    ("output_tokens_per_s_per_user", "output_tokens_per_s_per_accelerator"),
    ("output_tokens_per_s_per_user", "output_tokens_per_s"),
    ("ttft_ms_p50", "output_tokens_per_s_per_accelerator"),
    ("ttft_ms_p50", "output_tokens_per_s"),
    ("e2e_ms_p50", "output_tokens_per_s_per_accelerator"),
    ("e2e_ms_p50", "output_tokens_per_s"),
    ("ttft_ms_p99", "output_tokens_per_s_per_accelerator"),
    ("itl_ms_p50", "output_tokens_per_s"),
)
"""What one user gets, across, against what the machines yield, upright: in order of interest."""
_MOST: Final = 4


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One pair of metrics and its front.

    Attributes:
        x, y: what is drawn across and upright.
        points: by the treatment's place in ``Summary.treatments``; those without a valid figure
            of both are not in it.
    """

    x: Shown
    y: Shown
    points: dict[int, FrontPoint]

    @property
    def title(self) -> str:
        """Name the pair: what it costs against what it gives."""
        return f"{self.y.label} against {self.x.label}"


def tradeoffs(summary: Summary) -> list[TradeOff]:
    """Give the trade-offs of which at least one treatment tells both metrics; figures by replicate.

    A pair over all accelerators is left out where the same pair per accelerator is there.
    """
    by_name = {metric.name: metric for metric in summary.metrics}
    found: list[TradeOff] = []
    for x, y in _PAIRS:
        told = {(t.x.name, t.y.name) for t in found}
        if x not in by_name or y not in by_name or (x, f"{y}_per_accelerator") in told:
            continue
        points = _points(summary, by_name[x], by_name[y])
        if points:
            found.append(TradeOff(by_name[x], by_name[y], points))
    return found[:_MOST]


def _points(summary: Summary, x: Shown, y: Shown) -> dict[int, FrontPoint]:
    pairs = {}
    for place, treatment in enumerate(summary.treatments):
        across, upright = treatment.sample(x.name), treatment.sample(y.name)
        both = {unit: (across[unit], upright[unit]) for unit in across if unit in upright}
        if both:
            pairs[str(place)] = both
    lower = (x.lower is True, y.lower is True)
    return {int(place): point for place, point in pareto_front(pairs, lower=lower).items()}
