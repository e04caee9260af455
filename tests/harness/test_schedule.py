from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmatrix.harness.native.schedule import arrivals, group_order, phase_at, ramp


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(seed: int) -> None:
    due = np.array(list(islice(arrivals(8.0, "poisson", seed), 8 * 600)))
    assert stats.kstest(np.diff(due), "expon", args=(0, 1 / 8)).pvalue > 0.001
    assert abs(np.corrcoef(np.diff(due)[1:], np.diff(due)[:-1])[0, 1]) < 0.05


def test_constant_gaps_do_not_drift() -> None:
    due = list(islice(arrivals(400.0, "constant", 1), 100_001))
    assert due[-1] == 250.0
    assert max(b - a for a, b in pairwise(due)) == pytest.approx(1 / 400)


@given(rate=st.floats(0.1, 1e4), seed=st.integers(0, 2**63))
def test_arrivals_begin_at_zero_grow_and_repeat(rate: float, seed: int) -> None:
    first = list(islice(arrivals(rate, "poisson", seed), 50))
    assert first[0] == 0.0
    assert first == sorted(first)
    assert first == list(islice(arrivals(rate, "poisson", seed), 50))
    assert first != list(islice(arrivals(rate, "poisson", seed + 1), 50))


def test_a_closed_loop_is_up_by_half_the_warm_up() -> None:
    assert ramp(4, 8.0) == [0.0, 1.0, 2.0, 3.0]
    assert ramp(3, 0.0) == [0.0, 0.0, 0.0]


def test_phases_meet_without_gap() -> None:
    window = (5.0, 35.0)
    assert [phase_at(at, window) for at in (0.0, 4.999, 5.0, 34.999, 35.0)] == [
        "warmup",
        "warmup",
        "window",
        "window",
        "drain",
    ]
    assert phase_at(0.0, (0.0, 1.0)) == "window"


@given(groups=st.integers(1, 40), seed=st.integers(0, 2**32), block=st.integers(0, 99))
def test_each_block_holds_every_group_once(groups: int, seed: int, block: int) -> None:
    order = group_order(groups, seed, block)
    assert sorted(order) == list(range(groups))
    assert order == group_order(groups, seed, block)
