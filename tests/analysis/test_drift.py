from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llmatrix.analysis.drift import drift


def test_one_control_is_a_linear_regression() -> None:
    random = np.random.default_rng(3)
    times = np.arange(12.0)
    values = 50 * np.exp(0.01 * times + random.normal(0, 0.02, 12))
    found = drift([list(zip(times.tolist(), values.tolist(), strict=True))])
    assert found is not None
    line = stats.linregress(times, np.log(values))
    assert found.change == pytest.approx(math.expm1(line.slope * 11))
    assert found.p == pytest.approx(line.pvalue)
    assert found.trials == 12


def test_treatments_share_the_slope_and_have_levels_of_their_own() -> None:
    first = [(0.0, 10.0), (10.0, 11.0)]
    second = [(5.0, 500.0), (15.0, 550.0)]
    found = drift([first, second])
    assert found is not None
    assert found.change == pytest.approx(1.1**1.5 - 1)  # 10 % in 10 s, over the 15 s of the run
    assert found.p == pytest.approx(0.0, abs=1e-6)


def test_no_drift_is_not_told_from_noise() -> None:
    found = drift([[(0.0, 10.0), (1.0, 10.2), (2.0, 9.9), (3.0, 10.1)]])
    assert found is not None
    assert found.p is not None
    assert found.p > 0.5
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_what_was_not_repeated_tells_nothing() -> None:
    assert drift([]) is None
    assert drift([[(0.0, 10.0)], [(1.0, 20.0)]]) is None
    assert drift([[(0.0, 10.0), (0.0, 20.0)]]) is None
    assert drift([[(0.0, 0.0), (1.0, 10.0)]]) is None
    pair = drift([[(0.0, 10.0), (1.0, 11.0)]])
    assert pair is not None
    assert pair.change == pytest.approx(0.1)
    assert pair.p is None
