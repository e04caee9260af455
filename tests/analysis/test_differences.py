from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmatrix.analysis.differences import average, contrast, difference, leader

CELL = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)


def test_the_difference_of_two_cells_is_welchs() -> None:
    a, b = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8]
    found = difference([a], [b])
    va, vb = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    degrees = (va + vb) ** 2 / (va**2 / (len(a) + 1) + vb**2 / (len(b) + 1)) - 2  # Welch, 1947
    low, high = stats.t.interval(0.95, degrees, np.mean(a) - np.mean(b), np.sqrt(va + vb))
    assert found.mean is not None
    assert found.half_width is not None
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_samples_of_the_same_traffic_are_paired() -> None:
    a, b = {1: 10.0, 2: 30.0, 3: 20.0}, {1: 9.0, 2: 29.1, 3: 18.9}
    assert difference([a], [b]).half_width == pytest.approx(4.302653 * 0.1 / 3**0.5)
    found = leader({"a": [a], "b": [b]}, lower=True)
    assert found is not None
    assert (found.best, found.tied) == ("b", ())
    apart = leader({"a": [list(a.values())], "b": [list(b.values())]}, lower=True)
    assert apart is not None
    assert apart.tied == ("a",)


def test_an_average_counts_every_cell_the_same() -> None:
    assert average([[1.0, 1.0, 1.0, 1.0], [3.0, 3.0]]).mean == pytest.approx(2.0)


def test_a_single_unit_anywhere_leaves_no_interval() -> None:
    found = difference([[1.0, 2.0], [5.0]], [[1.0, 2.0], [3.0, 4.0]])
    assert (found.n, found.mean, found.half_width) == (1, 0.75, None)


def test_an_empty_cell_leaves_nothing() -> None:
    assert contrast([(1.0, [1.0, 2.0]), (-1.0, [])]).mean is None
    assert contrast([]).mean is None


@given(st.lists(CELL, min_size=1, max_size=4))
def test_cells_that_do_not_differ_are_never_told_apart(cells: list[list[float]]) -> None:
    found = difference(cells, cells)
    assert found.mean is not None
    assert found.half_width is not None
    assert abs(found.mean) <= found.half_width + 1e-9


@given(CELL, CELL, st.floats(0.5, 0.98))
def test_more_confidence_is_a_wider_interval(a: list[float], b: list[float], low: float) -> None:
    narrow, wide = difference([a], [b], confidence=low), difference([a], [b], confidence=0.99)
    assert narrow.half_width is not None
    assert wide.half_width is not None
    assert narrow.half_width <= wide.half_width


def test_a_clear_leader_leads_alone() -> None:
    alternatives = {"none": [[90.0, 91.0, 92.0]], "kv": [[31.0, 30.0, 32.0]]}
    found = leader(alternatives, lower=True)
    assert found is not None
    assert (found.best, found.tied, found.judged) == ("kv", (), True)
    higher = leader(alternatives, lower=False)
    assert higher is not None
    assert higher.best == "none"


def test_a_difference_within_the_noise_is_a_tie() -> None:
    alternatives = {"a": [[30.0, 33.0, 36.0]], "b": [[31.0, 33.0, 36.0]], "c": [[90.0, 91.0, 92.0]]}
    found = leader(alternatives, lower=True)
    assert found is not None
    assert (found.best, found.tied) == ("a", ("b",))


def test_without_replicates_nothing_is_judged() -> None:
    found = leader({"a": [[1.0]], "b": [[2.0]]}, lower=True)
    assert found is not None
    assert (found.best, found.judged) == ("a", False)


def test_alternatives_without_common_ground_have_no_leader() -> None:
    assert leader({"a": [], "b": []}, lower=True) is None
    assert leader({"a": [[1.0]]}, lower=True) is None


def test_equal_alternatives_are_called_different_at_most_as_often_as_stated() -> None:
    """Five equal alternatives of three replicates: a lone leader would be a false verdict."""
    random = np.random.default_rng(2)
    lone = 0
    repetitions = 400
    for _ in range(repetitions):
        sample = {str(k): [random.normal(10, 1, 3).tolist()] for k in range(5)}
        found = leader(sample, lower=True)
        assert found is not None
        lone += not found.tied
    assert lone / repetitions <= 0.05
