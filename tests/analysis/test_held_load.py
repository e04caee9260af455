from __future__ import annotations

import pytest

from llmatrix.analysis.contrasts import Sample, unkeyed
from llmatrix.analysis.held_load import HeldLoad, highest_held_load
from llmatrix.analysis.replicates import student_t


def around(middle: float, spread: float = 1.0) -> Sample:
    return unkeyed([middle - spread, middle, middle + spread])


CURVE = [(10.0, around(100)), (20.0, around(120)), (30.0, around(220)), (40.0, around(900))]


def held(limit: float, overloaded: tuple[float, ...] = ()) -> HeldLoad:
    found = highest_held_load(CURVE, limit, overloaded=overloaded)
    assert found is not None
    return found


def test_the_load_is_read_off_between_the_measured_ones() -> None:
    found = held(170)
    assert found.load == pytest.approx(25.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 25.0 < found.high
    assert (found.at_least, found.judged) == (False, True)


def test_the_interval_is_where_the_limit_is_not_told_from_the_curve() -> None:
    found = held(170)
    for bound in (found.low, found.high):
        assert bound is not None
        share = (bound - 20) / 10
        error = (((1 - share) ** 2 + share**2) / 3) ** 0.5
        mean = (1 - share) * 120 + share * 220
        parts = [((1 - share) ** 2 / 3) ** 2 / 4, (share**2 / 3) ** 2 / 4]
        degrees = error**4 / sum(parts) - 2
        t = student_t(0.95, min(degrees, 4))
        assert abs(mean - 170) / error == pytest.approx(t, rel=2e-3)


def test_beyond_the_measured_loads_only_bounds_are_told() -> None:
    all_hold = held(2000)
    assert (all_hold.load, all_hold.low, all_hold.high) == (40.0, 40.0, None)
    assert all_hold.at_least
    none_holds = held(50)
    assert (none_holds.load, none_holds.low, none_holds.high) == (None, None, 10.0)
    assert not none_holds.at_least


def test_an_overloaded_server_holds_nothing() -> None:
    found = held(2000, overloaded=(40.0,))
    assert (found.load, found.low, found.high, found.at_least) == (30.0, 30.0, 40.0, False)
    never = held(2000, overloaded=(5.0,))
    assert (never.load, never.high, never.judged) == (None, 5.0, False)


def test_a_curve_that_dips_holds_only_up_to_its_first_miss() -> None:
    dips = [(10.0, around(100)), (20.0, around(300)), (30.0, around(100))]
    found = highest_held_load(dips, 200)
    assert found is not None
    assert found.load == pytest.approx(15.0)


def test_common_traffic_narrows_the_interval() -> None:
    luck = {1: -20.0, 2: 0.0, 3: 20.0}
    paired = [
        (10.0, {u: 100 + v for u, v in luck.items()}),
        (20.0, {u: 300 - v for u, v in luck.items()}),
    ]
    apart = [(x, unkeyed(s.values())) for x, s in paired]
    one, other = highest_held_load(paired, 200), highest_held_load(apart, 200)
    assert one is not None
    assert other is not None
    assert one.load == other.load == pytest.approx(15.0)
    assert one.low is not None
    assert other.low is not None
    assert one.low > other.low


def test_without_replicates_there_is_a_load_and_no_interval() -> None:
    found = highest_held_load([(20.0, {1: 300.0}), (10.0, {1: 100.0})], 200)
    assert found == HeldLoad(15.0, None, None, at_least=False, judged=False)
    assert highest_held_load([], 200) is None
    assert highest_held_load([(10.0, {})], 200) is None
    alone = highest_held_load([(10.0, around(100))], 200)
    assert alone == HeldLoad(10.0, 10.0, None, at_least=True, judged=True)
