"""What each factor does, and where two of them depend on each other.

In a factorial, the *main effect* of a level is how far its mean lies from the mean of all levels,
everything else averaged out; the *interaction* of two levels is what their combination shows
beyond the sum of their main effects (Montgomery, Design and Analysis of Experiments, 8th ed.,
chapter 5). Both are contrasts of cell means, with intervals from the replicates. Only those
combinations of the other factors are used under which every level was measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from llmatrix.analysis.contrasts import Contrast, Sample, mean, weigh
from llmatrix.analysis.multiplicity import holm

Levels = tuple[str | None, ...]
Cells = Mapping[Levels, Sample]
_MIRRORED = 2


@dataclass(frozen=True, slots=True)
class MainEffect:
    """What one factor does.

    Attributes:
        factor: its place among the levels.
        means: each level's mean over the blocks.
        effects: each level's mean less that of all levels.
        blocks: how many combinations of the other factors it is averaged over.
        p: of "the factor does nothing": the smallest of the effects' p-values by Holm; None where
            it cannot be judged.
    """

    factor: int
    means: Mapping[str | None, Contrast]
    effects: Mapping[str | None, Contrast]
    blocks: int
    p: float | None

    @property
    def span(self) -> float:
        """From the lowest level's mean to the highest: how much the factor moves the metric."""
        values = [one.value for one in self.means.values() if one.value is not None]
        return max(values) - min(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class Interaction:
    """How the effect of one factor depends on another.

    Attributes:
        factors: their places among the levels.
        effects: for each pair of levels, its mean less what the main effects add up to.
        blocks: how many combinations of the other factors it is averaged over.
        p: of "the factors do not depend on each other", as in ``MainEffect``.
    """

    factors: tuple[int, int]
    effects: Mapping[tuple[str | None, str | None], Contrast]
    blocks: int
    p: float | None

    @property
    def span(self) -> float:
        """The largest departure from additivity."""
        values = [abs(one.value) for one in self.effects.values() if one.value is not None]
        return max(values, default=0.0)


def main_effects(cells: Cells, factors: Sequence[int]) -> list[MainEffect]:
    """Estimate the main effect of each of ``factors`` that has two levels on common ground.

    Args:
        cells: the sample of each treatment, by its level of every factor.
        factors: places of the factors to tell of.
    """
    found = []
    for factor in factors:
        grid, blocks = _grid(cells, (factor,))
        if len(grid) > 1:
            found.append(_main_effect(factor, grid, blocks))
    return found


def interactions(cells: Cells, factors: Sequence[int]) -> list[Interaction]:
    """Estimate the interaction of each two of ``factors``, where all pairs of levels are there."""
    found = []
    for pair in combinations(factors, 2):
        grid, blocks = _grid(cells, pair)
        rows = list(dict.fromkeys(first for first, _ in grid))
        columns = list(dict.fromkeys(second for _, second in grid))
        if min(len(rows), len(columns)) > 1 and len(grid) == len(rows) * len(columns):
            found.append(_interaction((pair[0], pair[1]), grid, rows, columns, blocks))
    return found


def _grid(cells: Cells, factors: Sequence[int]) -> tuple[dict[Levels, list[Sample]], int]:
    """Give the cells of each combination of ``factors`` on the blocks common to all, and those."""
    by_combination: dict[Levels, dict[Levels, Sample]] = defaultdict(dict)
    for levels, sample in cells.items():
        if sample:
            block = tuple(v for i, v in enumerate(levels) if i not in factors)
            by_combination[tuple(levels[i] for i in factors)][block] = sample
    first, *rest = list(by_combination.values()) or [{}]
    common = [block for block in first if all(block in other for other in rest)]
    if not common:
        return {}, 0
    lined_up = {key: [part[block] for block in common] for key, part in by_combination.items()}
    return lined_up, len(common)


def _main_effect(factor: int, grid: Mapping[Levels, Sequence[Sample]], blocks: int) -> MainEffect:
    share = 1 / len(grid)
    effects = {
        level: weigh(
            [
                (((1.0 if other == level else 0.0) - share) / blocks, sample)
                for (other,), samples in grid.items()
                for sample in samples
            ]
        )
        for (level,) in grid
    }
    means = {level: mean(samples) for (level,), samples in grid.items()}
    # The effects of two levels are each other's mirror image: one test, not two.
    tested = list(effects.values())[: 1 if len(effects) == _MIRRORED else None]
    return MainEffect(factor, means, effects, blocks, _smallest(tested))


def _interaction(
    factors: tuple[int, int],
    grid: Mapping[Levels, Sequence[Sample]],
    rows: Sequence[str | None],
    columns: Sequence[str | None],
    blocks: int,
) -> Interaction:
    effects = {
        (row, column): weigh(
            [
                (
                    ((first == row) - 1 / len(rows))
                    * ((second == column) - 1 / len(columns))
                    / blocks,
                    sample,
                )
                for (first, second), samples in grid.items()
                for sample in samples
            ]
        )
        for row, column in product(rows, columns)
    }
    tested = [
        effects[row, column]
        for row in rows[: 1 if len(rows) == _MIRRORED else None]
        for column in columns[: 1 if len(columns) == _MIRRORED else None]
    ]
    return Interaction(factors, effects, blocks, _smallest(tested))


def _smallest(effects: Iterable[Contrast]) -> float | None:
    adjusted = holm([one.p_value() for one in effects])
    return min((p for p in adjusted if p is not None), default=None)
