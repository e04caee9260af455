"""The answer in words: which configuration leads, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmatrix.analysis.differences import average, leader
from llmatrix.analysis.replicates import Estimate
from llmatrix.report.shown import WITHHELD, Shown, estimate_text, number
from llmatrix.report.summary import Levels, Summary

NAMED = 2
"""Most configurations that a sentence lists by name."""
LARGE_RATIO = 1.5
"""From here a ratio says more than a percentage."""

_ASKED = ("ttft_ms_p50", "output_tokens_per_s", "itl_ms_p50", "ttft_ms_p99")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence of the answer, in parts so that a page can set its figure large.

    Attributes:
        metric: what it is about.
        claim: "lowest TTFT p50", "no clear winner in TTFT p50".
        winner: the leading configuration, in words.
        figure: its estimate with unit.
        against: how it compares, a whole clause.
        over: on what it was compared, a whole clause; empty where nothing else varied.
        sure: whether the difference is larger than its interval.
    """

    metric: Shown
    claim: str
    winner: str
    figure: str
    against: str
    over: str
    sure: bool

    @property
    def sentence(self) -> str:
        """Give the finding as one sentence."""
        return f"{self.claim}: {self.winner} at {self.figure}, {self.against}{self.over}."


def findings(summary: Summary) -> list[Finding]:
    """Say which configuration leads in each of the metrics that people ask for first.

    Configurations are the combinations of those factors that belong to the stack or the model;
    they are compared over the workloads that all of them were measured under. Where only the
    workload was varied, its own levels are compared.
    """
    factors = _deciding(summary)
    if not factors:
        return []
    by_name = {metric.name: metric for metric in summary.metrics}
    asked = [by_name[name] for name in _ASKED if name in by_name]
    found = (_finding(summary, factors, metric) for metric in asked)
    return [finding for finding in found if finding is not None]


def lead(summary: Summary) -> str:
    """Give the one sentence that stands at the top."""
    data = summary.dataset
    if not data.records:
        failed = len(data.failures)
        return f"All {failed} trials failed." if failed else "No trial has been measured yet."
    if not summary.valid_count:
        return f"No figure can be trusted: all {len(data.records)} trials are invalid."
    found = findings(summary)
    if found:
        return found[0].sentence
    if len(summary.treatments) > 1:
        return "No workload was measured validly under every configuration, so none leads."
    told = (m for m in summary.key_metrics if summary.treatments[0].estimate(m.name).mean)
    first = next(told, None)
    if first is None:
        return "One treatment was measured."
    figure = estimate_text(summary.treatments[0].estimate(first.name))
    return f"One treatment was measured: {first.label} {figure} {first.unit}.".replace(" .", ".")


def configuration(summary: Summary, factors: Sequence[int], levels: Levels) -> str:
    """Name a combination of levels: ``prefix``; where that says too little, ``replicas 4``."""
    labels = [WITHHELD if level is None else level for level in levels]
    if len(factors) == 1 and labels[0][:1].isalpha():
        return labels[0]
    names = (summary.factor_names[i] for i in factors)
    return ", ".join(f"{name} {label}" for name, label in zip(names, labels, strict=True))


def _deciding(summary: Summary) -> list[int]:
    paths = summary.dataset.factors
    stack = [i for i in summary.varied if not paths[i].startswith("workload.")]
    return stack or list(summary.varied)


def _finding(summary: Summary, factors: Sequence[int], metric: Shown) -> Finding | None:
    lower = metric.lower is not False
    named = {
        configuration(summary, factors, levels): cells
        for levels, cells in summary.compare(factors, metric.name).items()
    }
    found = leader(named, lower=lower)
    if found is None:
        return None
    means = {name: average(cells).mean or 0.0 for name, cells in named.items()}
    best = average(named[found.best])
    unit = f" {metric.unit}" if metric.unit else ""
    told = {name: f"{name} ({number(mean)}{unit})" for name, mean in means.items()}
    worst = (max if lower else min)(means, key=lambda name: means[name])
    if found.tied:
        many = len(found.tied) > NAMED
        others = (
            f"{len(found.tied)} others" if many else " and ".join(told[name] for name in found.tied)
        )
        against = f"not distinguishable from {others}"
    else:
        against = f"{_margin(means[found.best], means[worst], lower=lower)} {told[worst]}"
    claim = f"{'Lowest' if lower else 'Highest'} {metric.label}"
    if len(found.tied) == len(means) - 1:
        claim = f"No clear leader in {metric.label}"
    return Finding(
        metric=metric,
        claim=claim,
        winner=found.best,
        figure=f"{estimate_text(best)}{unit}",
        against=against + ("" if found.judged else f" ({_unjudged(best)})"),
        over=_over(len(named[found.best]), _blocks(summary, factors)),
        sure=found.judged and not found.tied,
    )


def _unjudged(best: Estimate) -> str:
    if best.half_width is None:
        return "one replicate, so no interval"
    return "not all of them have two valid replicates, so not all could be judged"


def _blocks(summary: Summary, factors: Sequence[int]) -> int:
    """Count the combinations of the other factors, measured under every configuration or not."""
    every = (
        tuple(v for i, v in enumerate(t.levels) if i not in factors) for t in summary.treatments
    )
    return len(set(every))


def _over(common: int, every: int) -> str:
    if every == 1:
        return ""
    if common == every:
        return f", averaged over {every} workloads"
    if common == 1:
        return f", on the one of {every} workloads that is valid for all"
    return f", averaged over the {common} of {every} workloads that are valid for all"


def _margin(best: float, worst: float, *, lower: bool) -> str:
    """Say how far the best is from the worst: ``2.1x below``, and where that is little, ``8 %``."""
    if best <= 0 or worst <= 0:
        return "against"
    ratio = worst / best if lower else best / worst
    way = "below" if lower else "above"
    if ratio >= LARGE_RATIO:
        return f"{ratio:.2g}\u00d7 {way}"
    share = 1 - best / worst if lower else best / worst - 1
    return f"{100 * share:.2g} % {way}"
