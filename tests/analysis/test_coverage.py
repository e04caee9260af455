"""Do the intervals hold what they say? Against simulated truth, 10,000 repetitions each.

The numbers of replicates are those that people run: three to five. Bounds are the issue's: an
interval of 95 % covers the truth in 94 to 96 % of the experiments, and of treatments that do not
differ at most 5 % of the experiments call any better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from llmatrix.analysis.bootstrap import cluster_bootstrap
from llmatrix.analysis.comparisons import Verdict, compare, judge, ratio
from llmatrix.analysis.contrasts import Sample, differ
from llmatrix.analysis.differences import leader
from llmatrix.analysis.drift import drift
from llmatrix.analysis.effects import Levels, interactions, main_effects
from llmatrix.analysis.held_load import highest_held_load
from llmatrix.analysis.replicates import estimate

pytestmark = pytest.mark.slow

REPETITIONS = 10_000
Floats = NDArray[np.float64]


def covered(hits: Iterator[bool]) -> None:
    share = float(np.mean(list(hits)))
    assert 0.94 <= share <= 0.96, f"covers {share:.2%}"


def within(interval: tuple[float, float] | None, truth: float) -> bool:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def paired(values: Floats, _: object = None) -> Sample:
    """Give units the keys that every such sample has."""
    return dict(enumerate(values.tolist()))


def apart(values: Floats, name: object) -> Sample:
    """Give units keys of their own."""
    return {(name, i): value for i, value in enumerate(values.tolist())}


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_mean_over_replicates(n: int) -> None:
    drawn = np.random.default_rng(n).normal(10, 1, (REPETITIONS, n)).tolist()
    found = (estimate(values) for values in drawn)
    covered(abs((e.mean or 0.0) - 10) <= (e.half_width or 0.0) for e in found)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_the_difference_on_common_traffic(n: int, spread: float) -> None:
    random = np.random.default_rng(10 * n + int(spread))
    luck = random.normal(0, 3, (REPETITIONS, n))
    a = 10 + luck + random.normal(0, 1, luck.shape)
    b = 12 + luck + random.normal(0, spread, luck.shape)
    covered(
        within(differ([paired(x)], [paired(y)]).interval(), 2.0) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize(
    ("n_a", "n_b", "spread"), [(3, 3, 1.0), (3, 3, 2.0), (5, 5, 1.0), (5, 5, 2.0), (3, 6, 2.0)]
)
def test_the_difference_on_different_traffic(n_a: int, n_b: int, spread: float) -> None:
    random = np.random.default_rng([n_a, n_b, int(spread)])
    a = random.normal(10, 1, (REPETITIONS, n_a))
    b = random.normal(12, spread, (REPETITIONS, n_b))
    covered(
        within(differ([apart(x, "a")], [apart(y, "b")]).interval(), 2.0)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("n", [3, 5])
def test_the_ratio(n: int) -> None:
    random = np.random.default_rng(n)
    luck = random.normal(0, 3, (REPETITIONS, n))
    a = 30 + luck + random.normal(0, 1, luck.shape)
    b = 33 + luck + random.normal(0, 2, luck.shape)
    found = (ratio([paired(x)], [paired(y)]) for x, y in zip(a, b, strict=True))
    covered((r.low or -np.inf) <= 1.1 <= (r.high or np.inf) for r in found if r is not None)


@pytest.mark.parametrize("n", [3, 5])
def test_main_effects_and_interactions(n: int) -> None:
    """Three pickers, on two workloads; pickers share the traffic of a workload."""
    random = np.random.default_rng(n)
    shape = (REPETITIONS, 3, 2, n)
    truth = np.array([[0.0, 0.0], [3.0, 1.0], [6.0, 8.0]])
    luck = random.normal(0, 2, (REPETITIONS, 1, 2, n))
    drawn = truth[None, :, :, None] + luck + random.normal(0, 1, shape)

    def cells(repetition: Floats) -> dict[Levels, Sample]:
        return {(str(a), str(b)): apart(repetition[a, b], b) for a in range(3) for b in range(2)}

    mean = truth.mean()
    effect = truth[2].mean() - mean
    beyond = truth[2, 1] - truth[2].mean() - truth[:, 1].mean() + mean
    every = [cells(repetition) for repetition in drawn]
    covered(within(main_effects(each, [0])[0].effects["2"].interval(), effect) for each in every)
    covered(
        within(interactions(each, [0, 1])[0].effects["2", "1"].interval(), beyond) for each in every
    )


@pytest.mark.parametrize("n", [3, 5])
def test_the_highest_held_load(n: int) -> None:
    """The truth lies anywhere along a curve that is straight between the measured loads."""
    random = np.random.default_rng(n)
    loads, curve = np.array([10.0, 20.0, 30.0, 40.0]), np.array([100.0, 150.0, 300.0, 800.0])
    drawn = random.normal(curve[:, None], 20.0, (REPETITIONS, 4, n))
    truths = random.uniform(12.0, 38.0, REPETITIONS)

    def holds(values: Floats, truth: float) -> bool:
        points = [(float(x), apart(y, x)) for x, y in zip(loads, values, strict=True)]
        found = highest_held_load(points, float(np.interp(truth, loads, curve)))
        assert found is not None
        return (found.low or -np.inf) <= truth <= (found.high or np.inf)

    covered(holds(values, truth) for values, truth in zip(drawn, truths, strict=True))


def test_the_drift() -> None:
    random = np.random.default_rng(1)
    times = np.arange(12.0)
    values = np.exp(0.1 * times / 11 + random.normal(0, 0.05, (REPETITIONS, 12)))

    def holds(run: Floats) -> bool:
        points = list(zip(times.tolist(), run.tolist(), strict=True))
        # Two treatments by turns, one of them nine times as slow.
        found = drift([points[::2], [(t, 9 * v) for t, v in points[1::2]]])
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        return found.low <= math.expm1(0.1) <= found.high

    covered(holds(run) for run in values)


def test_the_bootstrap_of_a_pooled_ratio() -> None:
    """Six replicates of different size, whose levels differ by luck: cached over all tokens.

    Fewer repetitions than elsewhere, since each of them is hundreds of resamples.
    """
    random = np.random.default_rng(6)
    repetitions, replicates = 4000, 6
    tokens = random.uniform(800, 1200, (repetitions, replicates))
    cached = tokens * random.normal(0.6, 0.05, tokens.shape)

    def pooled(clusters: Sequence[tuple[float, float]]) -> float:
        return sum(part for part, _ in clusters) / sum(whole for _, whole in clusters)

    def holds(number: int) -> bool:
        clusters = list(zip(cached[number].tolist(), tokens[number].tolist(), strict=True))
        found = cluster_bootstrap(clusters, pooled, resamples=200, seed=number)
        assert found.mean is not None
        assert found.half_width is not None
        return abs(found.mean - 0.6) <= found.half_width

    covered(holds(number) for number in range(repetitions))


@pytest.mark.parametrize("keyed", [paired, apart], ids=["paired", "apart"])
def test_equal_treatments_are_rarely_called_better(keyed: Callable[..., Sample]) -> None:
    """A family of three metrics: any verdict is false, and so is any regression.

    The metrics of a trial depend on each other, as a trial's latencies do.
    """
    random = np.random.default_rng(17)
    shape = (2, REPETITIONS, 3, 3)
    of_trial = random.normal(0, 1, (2, REPETITIONS, 1, 3))
    a, b = 10 + of_trial + random.normal(0, 1, shape)
    told = regressed = 0
    for x, y in zip(a, b, strict=True):
        pairs = [(keyed(x[m], "a"), keyed(y[m], "b")) for m in range(3)]
        judged = judge([compare([one], [other], better="lower") for one, other in pairs])
        told += any(one.verdict is not Verdict.ALIKE for one in judged)
        regressed += any(one.regression for one in judged)
    assert told / REPETITIONS <= 0.05
    assert regressed / REPETITIONS <= 0.05


@pytest.mark.parametrize("k", [2, 5])
def test_equal_alternatives_rarely_have_a_leader(k: int) -> None:
    """That anyone at all is called behind the best is false, whoever turned out best."""
    drawn = np.random.default_rng(k).normal(10, 1, (REPETITIONS, k, 3))
    false = 0
    for one in drawn:
        found = leader({str(i): [apart(one[i], i)] for i in range(k)}, lower=True)
        assert found is not None
        false += len(found.tied) < k - 1
    assert false / REPETITIONS <= 0.05


def test_holm_holds_a_family_that_depends_on_itself() -> None:
    """All pairs of three equal treatments on common traffic."""
    drawn = np.random.default_rng(9).normal(10, 1, (REPETITIONS, 3, 4))
    false = 0
    for one in drawn:
        family = [
            compare([paired(one[i])], [paired(one[j])], better="higher")
            for i, j in combinations(range(3), 2)
        ]
        false += any(each.verdict is not Verdict.ALIKE for each in judge(family))
    assert false / REPETITIONS <= 0.05
