"""The answer in words: which configuration leads, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmatrix.analysis.comparisons import ratio
from llmatrix.analysis.differences import Cell, average, leader, sample_of
from llmatrix.analysis.held_load import HeldLoad
from llmatrix.analysis.replicates import Estimate
from llmatrix.report.capacity import Capacity, Loads, loads
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
        metric: name of what it is about.
        claim: "lowest TTFT p50", "no clear winner in TTFT p50".
        winner: the leading configuration, in words.
        figure: its estimate with unit.
        against: how it compares, a whole clause.
        over: on what it was compared, a whole clause; empty where nothing else varied.
        sure: whether the difference is larger than its interval.
    """

    metric: str
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


def findings(summary: Summary, varied: Loads | None = None) -> list[Finding]:
    """Say which configuration leads: in the load it holds, then in what people ask for first.

    Configurations are the combinations of those factors that belong to the stack or the model;
    they are compared over the workloads that all of them were measured under. Where only the
    workload was varied, its own levels are compared.

    Args:
        summary: what was measured.
        varied: the load as it was varied, where the caller has it already.
    """
    factors = _deciding(summary)
    if not factors:
        return []
    by_name = {metric.name: metric for metric in summary.metrics}
    asked = [by_name[name] for name in _ASKED if name in by_name]
    found = (_finding(summary, factors, metric) for metric in asked)
    return [
        finding
        for finding in (_held_load(summary, varied or loads(summary)), *found)
        if finding is not None
    ]


def lead(summary: Summary, found: Sequence[Finding] | None = None) -> str:
    """Give the one sentence that stands at the top.

    Args:
        summary: what was measured.
        found: its findings, where the caller has them already.
    """
    data = summary.dataset
    if not data.records:
        failed = len(data.failures)
        return f"All {failed} trials failed." if failed else "No trial has been measured yet."
    if not summary.valid_count:
        return f"No figure can be trusted: all {len(data.records)} trials are invalid."
    found = findings(summary) if found is None else found
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
    _, after, *rest = sorted(means, key=lambda name: means[name], reverse=not lower)
    if found.tied:
        many = len(found.tied) > NAMED
        others = (
            f"{len(found.tied)} others" if many else " and ".join(told[name] for name in found.tied)
        )
        against = f"not distinguishable from {others}"
    else:
        against = f"{_margin(named[found.best], named[after], lower=lower)} {told[after]}"
        if rest:
            last = _margin(named[found.best], named[rest[-1]], lower=lower, plain=True)
            against += f", the next, and {last} {told[rest[-1]]}, the last"
    claim = f"{'Lowest' if lower else 'Highest'} {metric.label}"
    if len(found.tied) == len(means) - 1:
        claim = f"No clear leader in {metric.label}"
    return Finding(
        metric=metric.name,
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


def _margin(
    best: Sequence[Cell], other: Sequence[Cell], *, lower: bool, plain: bool = False
) -> str:
    """Say how far the best is from another: ``2.1x (1.9-2.3) below``, where little ``8 %``.

    Args:
        best: cells of the best.
        other: of the other.
        lower: whether lower is better.
        plain: leave the interval out.
    """
    ours, theirs = [sample_of(cell) for cell in best], [sample_of(cell) for cell in other]
    found = ratio(ours, theirs) if lower else ratio(theirs, ours)
    if found is None or found.value <= 0:
        return "against"
    way = "below" if lower else "above"
    bounds = () if plain or found.low is None or found.high is None else (found.low, found.high)
    if found.value >= LARGE_RATIO:
        texts = [f"{value:.2g}" for value in (found.value, *bounds)]
        return f"{texts[0]}\u00d7{_told(texts, '')} {way}"
    shares = [100 * (1 - 1 / v if lower else v - 1) for v in (found.value, *bounds)]
    texts = [f"{share:.2g}" for share in shares]
    return f"{texts[0]} %{_told(texts, ' %')} {way}"


def _told(texts: Sequence[str], unit: str) -> str:
    """Write the bounds after the figure, unless they say the same as it."""
    _, *bounds = texts
    return f" ({bounds[0]}\u2013{bounds[1]}{unit})" if len(set(texts)) > 1 else ""


def _held_load(summary: Summary, varied: Loads | None) -> Finding | None:
    """Say which configuration holds the objectives up to the highest load.

    Only where nothing but the load and the stack was varied: else there is no one answer, and the
    table of loads has them all.
    """
    if varied is None:
        return None
    stack = [i for i in summary.varied if i not in varied.factors]
    if not stack or any(summary.dataset.factors[i].startswith("workload.") for i in stack):
        return None
    told = [(_load(one), one) for one in varied.capacities if one.binding is not None]
    if len(told) < 2:  # noqa: PLR2004 - a comparison takes two
        return None
    told.sort(key=lambda item: -item[0])
    names = [configuration(summary, stack, tuple(c.levels[i] for i in stack)) for _, c in told]
    (best, capacity), (second, next_capacity) = told[:2]
    kept = " and ".join(objective.text for objective in summary.objectives)
    if best <= 0:
        return None
    disjoint = _disjoint(capacity, next_capacity)
    ahead = f", {best / second:.2g}\u00d7 that of" if second > 0 else ", against"
    open_end = capacity.binding is not None and capacity.binding[1].at_least
    against = f"{ahead[2:]} {names[1]}, {load_text(next_capacity, varied.unit)}"
    if not disjoint:
        against += ": not told apart"
    what = "rate" if varied.kind == "rate" else "concurrency"
    return Finding(
        metric="held_load",
        claim=f"{'Highest' if disjoint else 'No clear leader in the'} {what} that holds {kept}",
        winner=names[0],
        figure=load_text(capacity, varied.unit),
        against=against,
        over="; the highest load measured was not enough to find its limit" if open_end else "",
        sure=disjoint,
    )


def load_text(capacity: Capacity, unit: str) -> str:
    """Write the load up to which a configuration holds every objective."""
    return held_text(capacity.binding[1], unit) if capacity.binding else WITHHELD


def held_text(held: HeldLoad, unit: str) -> str:
    """Write a load that holds: ``24.2 (22.1-25.6) req/s``, ``at least 36.0 req/s``."""
    if held.load is None:
        return "none of the measured loads"
    least = "at least " if held.at_least else ""
    if not held.judged or (held.low == held.load and held.high in {None, held.load}):
        return f"{least}{number(held.load)} {unit}"
    return f"{least}{number(held.load)} ({_bounds(held, held.load)}) {unit}"


def _bounds(held: HeldLoad, load: float) -> str:
    if held.low is None and held.high is None:
        return "any measured load"
    if held.low is None:
        return f"up to {number(held.high, like=load)}"
    if held.high is None:
        return f"{number(held.low, like=load)} or more"
    return f"{number(held.low, like=load)}\u2013{number(held.high, like=load)}"


def _load(capacity: Capacity) -> float:
    held = capacity.binding[1] if capacity.binding else None
    return held.load if held is not None and held.load is not None else 0.0


def _disjoint(best: Capacity, second: Capacity) -> bool:
    """Tell whether the intervals of two held loads have nothing in common."""
    if best.binding is None or second.binding is None:
        return False
    ours, theirs = best.binding[1], second.binding[1]
    if not (ours.judged and theirs.judged) or ours.low is None:
        return False
    high = theirs.high if theirs.high is not None else (None if theirs.load else 0.0)
    return high is not None and ours.low > high
