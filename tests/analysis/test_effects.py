from __future__ import annotations

import math

import pytest

from llmatrix.analysis.contrasts import Sample, unkeyed
from llmatrix.analysis.effects import Levels, interactions, main_effects

# Yield of a chemical process under two concentrations and two amounts of catalyst, three replicates
# each: Montgomery, Design and Analysis of Experiments, 8th ed., section 6.2. There A = 8.33,
# B = -5.00, AB = 1.67, and the error's mean square is 3.92 of 8 degrees of freedom.
YIELD: dict[Levels, list[float]] = {
    ("15%", "1 lb"): [28, 25, 27],
    ("25%", "1 lb"): [36, 32, 32],
    ("15%", "2 lb"): [18, 19, 23],
    ("25%", "2 lb"): [31, 30, 29],
}
CELLS: dict[Levels, Sample] = {levels: unkeyed(values) for levels, values in YIELD.items()}


def test_montgomerys_chemical_process() -> None:
    concentration, catalyst = main_effects(CELLS, [0, 1])
    assert concentration.span == pytest.approx(8.33, abs=0.005)
    # Montgomery's effect is from level to level; ours from the mean, which is half of it.
    assert concentration.effects["25%"].value == pytest.approx(8.33 / 2, abs=0.005)
    assert catalyst.effects["2 lb"].value == pytest.approx(-5.00 / 2, abs=0.005)
    (both,) = interactions(CELLS, [0, 1])
    assert both.effects["25%", "2 lb"].value == pytest.approx(1.67 / 2, abs=0.005)
    # se(effect) = 2 sqrt(MSE / (n 2^k)) = 1.14 (section 6.2); of half an effect, half of that.
    for effect in (concentration.effects["25%"], both.effects["25%", "2 lb"]):
        assert effect.error == pytest.approx(math.sqrt(3.92 / 12), abs=0.001)
    # F = 53.15 and 19.13 (P < 0.0025) against 2.13 (P = 0.1828): the same verdicts.
    assert concentration.p is not None
    assert concentration.p < 0.001
    assert catalyst.p is not None
    assert catalyst.p < 0.005
    assert both.p == pytest.approx(0.18, abs=0.02)


def test_the_effects_of_a_factor_cancel_and_add_to_the_means() -> None:
    cells: dict[Levels, Sample] = {
        (str(a), str(b)): unkeyed([10.0 * a + b + r / 7 for r in range(3)])
        for a in range(3)
        for b in range(2)
    }
    (first, second) = main_effects(cells, [0, 1])
    assert math.fsum(e.value or 0.0 for e in first.effects.values()) == pytest.approx(0.0)
    assert first.span == pytest.approx(20.0)
    assert second.span == pytest.approx(1.0)
    assert (first.blocks, second.blocks) == (2, 3)
    (both,) = interactions(cells, [0, 1])
    assert both.span == pytest.approx(0.0)
    assert both.p == pytest.approx(1.0)


def test_only_common_ground_counts() -> None:
    cells = {**CELLS, ("35%", "1 lb"): unkeyed([90.0, 91.0, 92.0])}
    (concentration,) = main_effects(cells, [0])
    assert concentration.blocks == 1
    assert concentration.means["15%"].value == pytest.approx(80 / 3)
    assert interactions(cells, [0, 1]) == []  # 35 % was never met with 2 lb


def test_the_interaction_is_averaged_over_the_other_factors() -> None:
    cells: dict[Levels, Sample] = {
        (a, b, c): unkeyed([(a == "1") * (b == "1") * 4.0 + (c == "1") * 100.0 + r for r in (0, 1)])
        for a in "01"
        for b in "01"
        for c in "01"
    }
    by_pair = {one.factors: one for one in interactions(cells, [0, 1, 2])}
    assert by_pair[0, 1].span == pytest.approx(1.0)  # a product of 4 is 1 beyond the sums
    assert by_pair[0, 1].blocks == 2
    assert by_pair[0, 2].span == pytest.approx(0.0)


def test_without_two_levels_or_replicates_nothing_is_judged() -> None:
    assert main_effects({("a",): unkeyed([1.0, 2.0])}, [0]) == []
    assert main_effects({}, [0]) == []
    single: dict[Levels, Sample] = {("a",): unkeyed([1.0]), ("b",): unkeyed([3.0])}
    (found,) = main_effects(single, [0])
    assert (found.span, found.p) == (2.0, None)


def test_common_luck_cancels_in_an_effect() -> None:
    luck = {1: 0.0, 2: 50.0, 3: -20.0}
    cells: dict[Levels, Sample] = {
        ("a",): {unit: 100 + value for unit, value in luck.items()},
        ("b",): {unit: 103 + value + unit / 10 for unit, value in luck.items()},
    }
    (found,) = main_effects(cells, [0])
    assert found.p is not None
    assert found.p < 0.001
    assert found.means["a"].error == pytest.approx(20.8, abs=0.1)
