from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmatrix.analysis.replicates import estimate, student_t, units

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


def test_the_interval_of_a_textbook_sample() -> None:
    """Student's own sleep data: ten patients, extra hours of sleep under drug 2 minus drug 1."""
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = estimate(differences)
    assert found.n == 10
    assert found.mean == pytest.approx(1.58)
    assert found.half_width == pytest.approx(1.58 - 0.7001142, abs=1e-6)


def test_t_quantiles_of_the_table() -> None:
    assert student_t(0.95, 1) == pytest.approx(12.706, abs=5e-4)
    assert student_t(0.95, 2) == pytest.approx(4.303, abs=5e-4)
    assert student_t(0.99, 10) == pytest.approx(3.169, abs=5e-4)


def test_one_replicate_has_a_mean_and_no_interval() -> None:
    found = estimate([3.0])
    assert (found.n, found.mean, found.half_width) == (1, 3.0, None)
    assert found.why_no_interval == "one replicate has no interval"


def test_nothing_has_neither() -> None:
    found = estimate([])
    assert (found.n, found.mean, found.half_width) == (0, None, None)
    assert found.why_no_interval == "nothing was measured"


@given(VALUES)
def test_the_interval_agrees_with_scipy(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean is not None
    assert found.half_width is not None
    assert found.why_no_interval == ""
    error = stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, loc=0, scale=error)[1] if error else 0.0
    assert math.isclose(found.half_width, expected, rel_tol=1e-6, abs_tol=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    samples = random.normal(10, 2, (2000, 3))
    hits = 0
    for sample in samples:
        found = estimate(sample.tolist())
        assert found.mean is not None
        assert found.half_width is not None
        hits += abs(found.mean - 10) <= found.half_width
    assert 0.935 <= hits / len(samples) <= 0.965


def test_workloads_on_one_deployment_are_the_units() -> None:
    assert units({(0, 2): 3.0, (0, 0): 1.0, (0, 1): 2.0}) == [1.0, 2.0, 3.0]


def test_repeated_deployments_are_the_units() -> None:
    values = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 10.0}
    assert units(values) == [2.0, 10.0]
