from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.analysis.multiplicity import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def closed_test(p_values: list[float]) -> list[float]:
    """Adjust by the closure of Bonferroni tests, straight from its definition.

    Marcus, Peritz and Gabriel, "On closed testing procedures", Biometrika 63 (1976): a hypothesis
    falls if every intersection that it is part of does.
    """
    every = range(len(p_values))
    subsets = [s for size in every for s in combinations(every, size + 1)]
    return [
        max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s)
        for i in every
    ]


@given(P_VALUES)
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_a_worked_example() -> None:
    # As R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_tests_that_could_not_be_made_do_not_count() -> None:
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


@given(P_VALUES, st.data())
def test_a_chosen_part_of_a_family_is_never_adjusted_less(
    p_values: list[float], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(p_values))), unique=True))
    whole = holm(p_values)
    part = holm([p_values[i] for i in chosen], tests=len(p_values))
    for place, adjusted in zip(chosen, part, strict=True):
        assert adjusted is not None
        assert adjusted >= (whole[place] or 0.0) - 1e-12
