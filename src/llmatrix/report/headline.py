"""The answer in words: which configuration leads, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmatrix.analysis.differences import average, leader
from llmatrix.report.shown import Shown, estimate_text, number
from llmatrix.report.summary import Levels, Summary

NAMED = 2
"""Most configurations that a sentence lists by name."""

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
    """Name a combination of levels: ``prefix`` alone, else ``config prefix, replicas 4``."""
    if len(factors) == 1:
        return str(levels[0])
    names = (summary.factor_names[i] for i in factors)
    return ", ".join(f"{name} {level}" for name, level in zip(names, levels, strict=True))


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
    means = {name: average(cells) for name, cells in named.items()}
    order = sorted(means, key=lambda name: means[name].mean or 0.0, reverse=not lower)
    unit = f" {metric.unit}" if metric.unit else ""
    blocks = len(named[found.best])
    over = _over(blocks, _blocks(summary, factors))
    if found.tied:
        others = (
            f"{len(found.tied)} others" if len(found.tied) > NAMED else " and ".join(found.tied)
        )
        against = f"not distinguishable from {others}"
    else:
        last = means[order[-1]].mean
        ratio = _ratio(means[found.best].mean, last, lower=lower)
        against = f"{ratio} {order[-1]} ({number(last)}{unit})"
    return Finding(
        metric=metric,
        claim=f"{'Lowest' if lower else 'Highest'} {metric.label}",
        winner=found.best,
        figure=f"{estimate_text(means[found.best])}{unit}",
        against=against + ("" if found.judged else " (one replicate, so no interval)"),
        over=over,
        sure=found.judged and not found.tied,
    )


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
    return f", averaged over the {common} of {every} workloads that are valid for all"


def _ratio(best: float | None, last: float | None, *, lower: bool) -> str:
    if not best or not last or best < 0 or last < 0:
        return "against"
    ratio = last / best if lower else best / last
    return f"{ratio:.2g}\u00d7 {'below' if lower else 'above'}"
