from __future__ import annotations

import math

import numpy as np
import pytest

from llmatrix.analysis.contrasts import Contrast, differ, unkeyed
from llmatrix.analysis.power import minimum_detectable, noncentrality


@pytest.mark.parametrize(
    ("n", "effect"),
    [(26, 0.8), (64, 0.5), (393, 0.2)],  # Cohen (1988), table 2.4.1: 5 % two-sided, power 0.80
)
def test_cohens_table_of_sample_sizes(n: int, effect: float) -> None:
    found = noncentrality(2 * n - 2) * math.sqrt(2 / n)
    assert found == pytest.approx(effect, abs=0.01)


def test_it_is_seen_as_often_as_stated() -> None:
    """Against simulation: an effect of that size is told apart in 80 % of the experiments."""
    random = np.random.default_rng(8)
    n = 5
    effect = noncentrality(n - 1) / math.sqrt(n)
    seen = 0
    for values in random.normal(effect, 1, (10_000, n)).tolist():
        p = differ([dict.fromkeys(range(n), 0.0)], [dict(enumerate(values))]).p_value()
        assert p is not None
        seen += p <= 0.05
    assert seen / 10_000 == pytest.approx(0.8, abs=0.01)


def test_it_shrinks_with_replicates_and_needs_two() -> None:
    def found(n: int) -> float:
        value = minimum_detectable(differ([unkeyed([1.0, 2.0] * n)], [unkeyed([2.0, 3.0] * n)]))
        assert value is not None
        return value

    assert found(8) < found(2) < found(1)
    assert minimum_detectable(differ([{1: 1.0}], [{1: 2.0}])) is None
    assert minimum_detectable(Contrast(3, 1.0, 0.0, math.inf)) == 0.0
    assert noncentrality(math.inf) == pytest.approx(1.95996 + 0.84162, abs=1e-4)
