from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from llmatrix.analysis.percentiles import percentile, samples_needed


@pytest.mark.parametrize(("q", "needed"), [(0.99, 662), (0.9, 64), (0.5, 11)])
def test_the_samples_that_a_percentile_needs(q: float, needed: int) -> None:
    assert samples_needed(q) == needed


@given(q=st.floats(0.02, 0.995), confidence=st.floats(0.5, 0.999))
def test_needed_is_the_first_count_with_two_beyond_at_the_asked_confidence(
    q: float, confidence: float
) -> None:
    needed = samples_needed(q, confidence)
    beyond = min(q, 1 - q)
    assert binom.sf(1, needed, beyond) >= confidence - 1e-9
    assert needed == 2 or binom.sf(1, needed - 1, beyond) < confidence + 1e-9


def test_the_second_largest_of_just_enough_samples_bounds_the_quantile() -> None:
    samples = np.sort(np.random.default_rng(1).exponential(size=(4000, 64)), axis=1)
    assert np.mean(samples[:, -2] >= -np.log(0.1)) == pytest.approx(0.99, abs=0.006)


def test_one_sample_too_few_withholds_with_the_reason() -> None:
    assert percentile(np.arange(661.0), 0.99) == (
        None,
        "p99 needs 662 samples at 99% confidence; there are 661",
    )
    value, reason = percentile(np.arange(662.0), 0.99)
    assert value == pytest.approx(654.39)
    assert reason == ""
    assert percentile([], 0.5)[0] is None


def test_samples_that_depend_on_each_other_do_not_count_twice() -> None:
    value, reason = percentile(np.arange(10_000.0), 0.9, independent=63)
    assert value is None
    assert reason.endswith("there are 63")
    assert percentile(np.arange(10_000.0), 0.9, independent=64)[0] is not None


@pytest.mark.parametrize(("q", "confidence"), [(0.0, 0.99), (1.0, 0.99), (0.5, 1.0)])
def test_no_quantile_at_the_ends(q: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="strictly between"):
        samples_needed(q, confidence)


def test_a_value_that_is_not_finite_is_not_told() -> None:
    assert percentile([*range(100), float("inf")], 0.999, 0.001)[0] is None
