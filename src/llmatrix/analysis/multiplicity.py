"""Many verdicts at once, all of them right with the stated confidence: Holm's step-down method.

Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6(2), 1979. It needs no independence of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None], *, tests: int = 0) -> list[float | None]:
    """Adjust p-values so that each may be held against the level of the whole family.

    The k-th smallest of m is multiplied by m - k + 1; none comes out below a smaller one.

    Args:
        p_values: of the family, in any order; None where a test could not be made (not counted).
        tests: how many there are in the family, where only some of them are asked about, chosen
            by looking; the adjustment then allows for any choice.

    Returns:
        The adjusted values in the same order, at most 1.
    """
    told = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    count = max(tests, len(told))
    highest = 0.0
    for rank, (p, place) in enumerate(told):
        highest = max(highest, min(1.0, (count - rank) * p))
        adjusted[place] = highest
    return adjusted
