from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.analysis.contrasts import Contrast, differ, mean, unkeyed, weigh

# Hours of sleep gained under two drugs by the same ten patients: Student, "The probable error of
# a mean", Biometrika 6 (1908), p. 20; the results are those of R's documentation of `t.test`.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)


def of_moments(n: int, middle: float, deviation: float) -> list[float]:
    """Make ``n`` values of exactly this mean and standard deviation."""
    raw = [float(i) for i in range(n)]
    centre = sum(raw) / n
    scale = math.sqrt(sum((x - centre) ** 2 for x in raw) / (n - 1))
    return [middle + deviation * (x - centre) / scale for x in raw]


def test_students_sleep_data_paired() -> None:
    found = differ([dict(enumerate(DRUG_1))], [dict(enumerate(DRUG_2))])
    assert (found.n, found.paired) == (10, True)
    assert found.degrees == pytest.approx(9)
    assert found.value == pytest.approx(1.58)
    assert found.p_value() == pytest.approx(0.002833, abs=5e-7)
    assert found.interval() == pytest.approx((0.7001142, 2.4598858))


def test_two_independent_samples_have_welchs_degrees_of_freedom() -> None:
    # Death rates from kidney cancer of 20 and 24 states, by mean and standard deviation: Park,
    # "Comparing Group Means" (Indiana University, 2005), output of Stata's `ttest, unequal welch`.
    east, west = of_moments(20, 3.006, 0.3001298), of_moments(24, 2.618333, 0.5983722)
    found = differ([unkeyed(west)], [unkeyed(east)])
    assert found.value == pytest.approx(0.3876667, abs=1e-6)
    assert found.error == pytest.approx(0.139365, abs=1e-6)
    assert found.degrees == pytest.approx(36.2258, abs=1e-4)
    assert found.p_value() == pytest.approx(0.0085, abs=5e-5)
    assert found.interval() == pytest.approx((0.1050824, 0.6702509), abs=2e-6)


def test_one_sided_tests_add_up_and_hold_against_any_null() -> None:
    found = differ([dict(enumerate(DRUG_1))], [dict(enumerate(DRUG_2))])
    greater, less = found.p_value(0.5, "greater"), found.p_value(0.5, "less")
    assert greater is not None
    assert less is not None
    assert greater + less == pytest.approx(1.0)
    assert found.p_value(0.5) == pytest.approx(2 * greater)
    interval = found.interval(0.9)
    assert interval is not None
    assert found.p_value(interval[0], "greater") == pytest.approx(0.05)


def test_only_samples_of_the_same_units_are_paired() -> None:
    a, b = {1: 10.0, 2: 20.0, 3: 31.0}, {1: 11.0, 2: 21.0, 3: 32.0}
    assert differ([a], [b]).error == 0.0
    assert not differ([a], [{1: 11.0, 2: 21.0}]).paired
    assert not differ([a], [{1: 11.0, 2: 21.0, 4: 32.0}]).paired


def test_blocks_are_paired_each_within_itself() -> None:
    a = [{1: 1.0, 2: 5.0}, {3: 2.0, 4: 9.0}]
    b = [{1: 2.0, 2: 6.0}, {3: 3.0, 4: 12.0}]
    found = differ(a, b)  # the first block's differences do not vary, the second's are 1 and 3
    assert found.value == pytest.approx(1.5)
    assert found.error == pytest.approx(0.5)
    assert found.degrees == pytest.approx(1.0)


def test_units_that_all_cells_share_make_one_sum_each() -> None:
    a = [{"d0": 1.0, "d1": 2.0}, {"d0": 3.0, "d1": 5.0}]
    found = mean(a)
    assert found.n == 2
    assert found.degrees == pytest.approx(1.0)
    assert found.error == pytest.approx(0.75)


def test_a_single_unit_has_no_error_and_an_empty_cell_no_value() -> None:
    one = differ([{1: 1.0, 2: 2.0}], [{1: 5.0}])
    assert (one.n, one.value, one.error, one.p_value(), one.interval()) == (
        1,
        3.5,
        None,
        None,
        None,
    )
    none = weigh([(1.0, {}), (1.0, {1: 2.0})])
    assert (none.n, none.value, none.p_value()) == (0, None, None)
    assert weigh([]) == Contrast(0, None, None, math.inf)


def test_what_does_not_vary_is_told_apart_only_where_it_differs() -> None:
    same, more = {1: 0.1, 2: 0.1, 3: 0.1}, {1: 0.3, 2: 0.3, 3: 0.3}
    assert differ([same], [same]).p_value() == 1.0
    assert differ([same], [more]).p_value() == 0.0
    assert differ([same], [more]).p_value(0.0, "less") == 1.0
    # A third of a tenth is no float; what is left of such sums is no effect.
    thirds = weigh([(2 / 3, same), (-1 / 3, dict(same)), (-1 / 3, {7: 0.1, 8: 0.1})])
    assert (thirds.value, thirds.p_value()) == (0.0, 1.0)


@given(VALUES, VALUES)
def test_pairing_or_not_the_estimate_is_the_same(a: list[float], b: list[float]) -> None:
    paired = differ([dict(enumerate(a))], [dict(enumerate(b))])
    apart = differ([unkeyed(a)], [unkeyed(b)])
    assert paired.value == pytest.approx(apart.value, abs=1e-6)
    assert min(len(a), len(b)) - 1 <= apart.degrees + 1e-9
