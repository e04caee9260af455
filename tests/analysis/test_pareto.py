from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.analysis.pareto import Pairs, on_front, pareto_front

POINT = st.tuples(st.integers(0, 4), st.integers(0, 4))


def dominated(point: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any(
        o[0] >= point[0] and o[1] >= point[1] and (o[0] > point[0] or o[1] > point[1])
        for o in others
    )


@given(st.lists(POINT, min_size=1, max_size=12))
def test_the_front_is_what_nobody_dominates(points: list[tuple[int, int]]) -> None:
    found = on_front(np.array([points], dtype=float))[0]
    assert found.tolist() == [not dominated(p, points) for p in points]


def test_each_metric_has_its_way() -> None:
    treatments: dict[str, Pairs] = {
        "quick and dear": {1: (10.0, 100.0)},
        "slow and cheap": {1: (50.0, 400.0)},
        "slow and dear": {1: (50.0, 100.0)},
    }
    found = pareto_front(treatments, lower=(True, False))
    assert [name for name, point in found.items() if point.on_front] == [
        "quick and dear",
        "slow and cheap",
    ]
    assert {point.share for point in found.values()} == {None}


def test_a_clear_front_is_sure_and_a_close_one_is_not() -> None:
    clear: dict[str, Pairs] = {
        "a": {1: (1.0, 9.0), 2: (1.1, 9.1), 3: (0.9, 9.0)},
        "b": {4: (9.0, 1.0), 5: (9.1, 1.1), 6: (9.0, 0.9)},
        "c": {7: (0.5, 0.5), 8: (0.6, 0.4), 9: (0.5, 0.6)},
    }
    assert [point.share for point in pareto_front(clear).values()] == [1.0, 1.0, 0.0]
    close: dict[str, Pairs] = {
        "a": {1: (5.0, 5.0), 2: (6.0, 6.0), 3: (4.0, 4.0)},
        "b": {4: (5.0, 5.0), 5: (6.0, 6.0), 6: (4.0, 4.0)},
    }
    shares = [point.share or 0.0 for point in pareto_front(close).values()]
    assert all(0.4 < share < 0.7 for share in shares)


def test_common_luck_decides_nothing() -> None:
    luck = {1: 0.0, 2: 40.0, 3: -30.0}
    treatments: dict[str, Pairs] = {
        "a": {unit: (100 + more, 100 + more) for unit, more in luck.items()},
        "b": {unit: (101 + more, 101 + more) for unit, more in luck.items()},
    }
    found = pareto_front(treatments)
    assert (found["a"].share, found["b"].share) == (0.0, 1.0)


def test_the_share_is_the_chance_that_theory_gives() -> None:
    """Two treatments in one effective metric: the share is that of a normal difference above 0."""
    a = {unit: (1.0, value) for unit, value in enumerate([0.0, 2.0, 1.0, 3.0, -1.0, 1.0, 0.5, 1.5])}
    b = {10 + unit: (1.0, value + 0.5) for unit, (_, value) in a.items()}
    found = pareto_front({"a": a, "b": b}, resamples=20_000)
    values = np.array([value for _, value in a.values()])
    error = math.sqrt(2 * values.var(ddof=1) / len(values))
    expected = 0.5 * (1 + math.erf(0.5 / error / math.sqrt(2)))
    assert found["b"].share == pytest.approx(expected, abs=0.02)


def test_the_same_data_give_the_same_shares_and_none_give_none() -> None:
    treatments: dict[str, Pairs] = {
        "a": {1: (1.0, 2.0), 2: (2.0, 1.0)},
        "b": {3: (1.5, 1.5), 4: (1.0, 2.5)},
    }
    assert pareto_front(treatments) == pareto_front(treatments)
    assert pareto_front({}) == {}
    assert set(pareto_front({**treatments, "nothing": {}})) == {"a", "b"}
