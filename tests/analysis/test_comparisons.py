from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from llmatrix.analysis.comparisons import Better, Verdict, compare, judge, ratio
from llmatrix.analysis.contrasts import differ, unkeyed
from llmatrix.analysis.replicates import student_t

SLOW = {1: 120.0, 2: 122.0, 3: 118.0, 4: 121.0}
QUICK = {1: 100.0, 2: 103.0, 3: 98.0, 4: 101.0}


def verdict(a: dict[int, float], b: dict[int, float], better: Better) -> Verdict:
    return judge([compare([a], [b], better=better)])[0].verdict


def test_a_verdict_knows_which_way_is_better() -> None:
    assert verdict(SLOW, QUICK, "lower") is Verdict.BETTER
    assert verdict(QUICK, SLOW, "lower") is Verdict.WORSE
    assert verdict(QUICK, SLOW, "higher") is Verdict.BETTER
    assert verdict(QUICK, SLOW, "neither") is Verdict.DIFFERENT
    assert set(get_args(Better)) == {"lower", "higher", "neither"}


def test_noise_is_not_told_apart_and_one_replicate_not_judged() -> None:
    assert verdict({1: 10.0, 2: 20.0, 3: 15.0}, {1: 21.0, 2: 11.0, 3: 16.0}, "lower") is (
        Verdict.ALIKE
    )
    assert verdict({1: 10.0}, {1: 20.0}, "lower") is Verdict.UNJUDGED


def test_a_regression_is_worse_by_more_than_the_threshold() -> None:
    def regressed(threshold: float, better: Better, a: dict[int, float]) -> bool:
        b = SLOW if a is QUICK else QUICK
        return judge([compare([a], [b], better=better, threshold=threshold)])[0].regression

    assert regressed(0.0, "lower", QUICK)
    assert regressed(0.1, "lower", QUICK)
    assert not regressed(0.19, "lower", QUICK)  # 19.7 % worse, but not surely more than 19 %
    assert not regressed(0.0, "lower", SLOW)
    assert regressed(0.1, "higher", SLOW)
    assert not regressed(0.25, "higher", SLOW)
    assert not regressed(0.0, "neither", QUICK)


def test_a_baseline_of_zero_is_held_without_division() -> None:
    zero, some = {1: 0.0, 2: 0.0, 3: 0.0}, {1: 4.0, 2: 5.0, 3: 6.0}
    found = compare([zero], [some], better="lower", threshold=0.05)
    assert (found.ratio, found.change) == (None, None)
    assert judge([found])[0].regression
    assert not judge([compare([zero], [zero], better="lower")])[0].regression


def test_many_verdicts_are_held_together() -> None:
    """What is told apart by itself is not, as one of a hundred."""
    a, b = {1: 10.0, 2: 12.0, 3: 11.0}, {1: 11.0, 2: 13.5, 3: 11.9}
    lone = compare([a], [b], better="lower")
    assert judge([lone])[0].verdict is Verdict.WORSE
    noise = compare([a], [{1: 11.0, 2: 10.5, 3: 11.5}], better="lower")
    assert judge([lone, *[noise] * 99])[0].verdict is Verdict.ALIKE


def test_the_ratios_interval_is_the_set_of_ratios_not_rejected() -> None:
    found = ratio([QUICK], [SLOW])
    assert found is not None
    assert found.value == pytest.approx(sum(SLOW.values()) / sum(QUICK.values()))
    for bound in (found.low, found.high):
        assert bound is not None
        scaled = {unit: bound * value for unit, value in QUICK.items()}
        assert differ([scaled], [SLOW]).p_value() == pytest.approx(0.05)


def test_fiellers_interval_of_independent_samples_by_its_definition() -> None:
    random = np.random.default_rng(4)
    a, b = random.normal(50, 4, 6).tolist(), random.normal(80, 9, 5).tolist()
    found = ratio([unkeyed(a)], [unkeyed(b)])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    scaled = differ([unkeyed([found.value * x for x in a])], [unkeyed(b)])
    t = student_t(0.95, scaled.degrees)
    for bound in (found.low, found.high):
        at = differ([unkeyed([bound * x for x in a])], [unkeyed(b)])
        assert at.value is not None
        assert at.error is not None
        assert math.fabs(at.value) / at.error == pytest.approx(t, rel=1e-6)


def test_a_reference_not_told_from_zero_bounds_no_ratio() -> None:
    found = ratio([{1: -1.0, 2: 2.0, 3: 1.0}], [QUICK])
    assert found is not None
    assert (found.low, found.high) == (None, None)
    assert ratio([{1: 1.0, 2: -1.0}], [{1: 1.0, 2: 1.0}]) is None


def test_sides_without_the_same_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="same cells"):
        compare([SLOW], [QUICK, QUICK], better="lower")
    with pytest.raises(ValueError, match="at least one"):
        compare([], [], better="lower")
