from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from llmatrix.harness.native.schedule import (
    arrivals,
    gamma,
    group_order,
    phase_at,
    ramp,
    stream,
)
from llmatrix.pace import Pace, Piece, ramped

RAMP = (Piece(10.0, 5.0, 5.0), Piece(20.0, 5.0, 50.0), Piece(5.0, 50.0, 10.0))


def gaps_of(pace: Pace, cv: float, seed: int, requests: int) -> NDArray[np.float64]:
    """Gaps on the clock of the pace."""
    due = list(islice(arrivals(pace, cv, seed), requests))
    return np.diff([pace.expected(at) for at in due])


@pytest.mark.parametrize("seed", range(5))
def test_poisson_gaps_are_exponential(seed: int) -> None:
    due = np.array(list(islice(arrivals(Pace(8.0), 1.0, seed), 8 * 600)))
    assert stats.kstest(np.diff(due), "expon", args=(0, 1 / 8)).pvalue > 0.001
    assert abs(np.corrcoef(np.diff(due)[1:], np.diff(due)[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize("pace", [Pace(8.0), ramped(10.0, RAMP, 3.0)])
@pytest.mark.parametrize("cv", [0.2, 1.0, 2.0])
def test_gaps_are_gamma_on_the_clock_of_the_pace(pace: Pace, cv: float) -> None:
    for seed in range(3):
        gaps = gaps_of(pace, cv, seed, 8 * 600)
        shape = 1 / cv**2
        assert stats.kstest(gaps, "gamma", args=(shape, 0, 1 / shape)).pvalue > 0.001
        assert gaps.mean() == pytest.approx(1.0, abs=4 * cv / len(gaps) ** 0.5)
        chance = cv * ((1 + cv**2) / 2 / len(gaps)) ** 0.5
        assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=5 * chance)
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.06


@pytest.mark.parametrize("shape", [0.01, 0.1, 1.0, 25.0])
def test_gamma_draws_are_gamma(shape: float) -> None:
    uniform = stream(7, "test").random
    drawn = [gamma(shape, uniform) for _ in range(5000)]
    assert stats.kstest(drawn, "gamma", args=(shape,)).pvalue > 0.001


def test_constant_gaps_do_not_drift() -> None:
    due = list(islice(arrivals(Pace(400.0), 0.0, 1), 100_001))
    assert due[-1] == 250.0
    assert max(b - a for a, b in pairwise(due)) == pytest.approx(1 / 400)


def test_a_ramp_sends_what_its_rates_ask() -> None:
    pace = ramped(10.0, RAMP, 4.0)
    due = np.array(list(islice(arrivals(pace, 0.0, 1), 1000)))
    counts = np.histogram(due, [0.0, 4.0, 14.0, 34.0, 39.0, 49.0])[0]
    assert counts == pytest.approx([20, 50, 550, 150, 100], abs=1)
    halfway = np.count_nonzero((due >= 14.0) & (due < 24.0))
    assert halfway == pytest.approx(162.5, abs=1)  # 10 s at a mean of 16.25/s


@given(
    pieces=st.lists(
        st.builds(Piece, st.floats(0.1, 100), st.floats(0.1, 1e3), st.floats(0.1, 1e3)), max_size=4
    ),
    rate=st.floats(0.1, 1e3),
    at=st.floats(0.0, 500.0),
    later=st.floats(0.0, 100.0),
)
def test_due_is_the_inverse_of_expected(
    pieces: list[Piece], rate: float, at: float, later: float
) -> None:
    pace = Pace(rate, pieces)
    assert pace.due(pace.expected(at)) == pytest.approx(at, abs=1e-6)
    assert pace.expected(at + later) >= pace.expected(at) - 1e-9


@given(rate=st.floats(0.1, 1e4), seed=st.integers(0, 2**63), cv=st.floats(0.05, 10.0))
def test_arrivals_begin_at_zero_grow_and_repeat(rate: float, seed: int, cv: float) -> None:
    first = list(islice(arrivals(Pace(rate), cv, seed), 50))
    assert first[0] == 0.0
    assert first == sorted(first)
    assert first == list(islice(arrivals(Pace(rate), cv, seed), 50))
    assert first != list(islice(arrivals(Pace(rate), cv, seed + 1), 50))


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
