"""Which treatments no other beats in both of two metrics, and how sure that is.

A treatment is on the Pareto front if no other is at least as good in both metrics and better in
one. The front of measured means is itself a figure with an error: the replicates are drawn anew
many times (``bootstrap``), the front is found each time, and each treatment's share of those fronts
is told. Treatments with the same units are drawn together, since their luck is common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmatrix.analysis.bootstrap import RESAMPLES, SEED, draw_counts, resampled_means
from llmatrix.analysis.contrasts import MIN_UNITS, Unit

Floats = NDArray[np.float64]
Pairs = Mapping[Unit, tuple[float, float]]
"""For each unit of a treatment, its values of both metrics."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """Where a treatment lies to the front.

    Attributes:
        x, y: means of both metrics over the replicates.
        on_front: whether those means are on the front.
        share: of the resamples in which it is on the front, from 0 to 1; None where a treatment of
            the set has a single replicate, since fronts are made of all of them.
    """

    x: float
    y: float
    on_front: bool
    share: float | None


def pareto_front(
    treatments: Mapping[str, Pairs],
    *,
    lower: tuple[bool, bool] = (False, False),
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, FrontPoint]:
    """Find the front and how often each treatment is on it.

    Args:
        treatments: for each, its units' values; empty ones are left out.
        lower: for each metric, whether lower is better.
        resamples: how many times the replicates are drawn.
        seed: of the draws.
    """
    told = {name: pairs for name, pairs in treatments.items() if pairs}
    if not told:
        return {}
    signs = np.array([-1.0 if each else 1.0 for each in lower])
    own = np.array([np.mean(list(pairs.values()), axis=0) for pairs in told.values()])
    now = on_front(signs * own[None])[0]
    shares: list[float | None] = [None] * len(told)
    if min(map(len, told.values())) >= MIN_UNITS:
        drawn = signs * resample(list(told.values()), resamples, np.random.default_rng(seed))
        shares = [float(share) for share in on_front(drawn).mean(axis=0)]
    return {
        name: FrontPoint(float(x), float(y), bool(on), share)
        for name, (x, y), on, share in zip(told, own, now, shares, strict=True)
    }


def on_front(points: Floats) -> NDArray[np.bool_]:
    """Tell which points are on the front, higher being better in both coordinates.

    Args:
        points: shape (sets, points, 2).

    Returns:
        Shape (sets, points). Points that are equal in both coordinates are on it together.
    """
    x, y = points[..., 0], points[..., 1]
    order = np.lexsort((-y, -x), axis=-1)
    x, y = np.take_along_axis(x, order, -1), np.take_along_axis(y, order, -1)
    # Whoever comes earlier is at least as good in x; the best y so far decides.
    highest = np.maximum.accumulate(y, axis=-1)
    before = np.concatenate([np.full_like(y[..., :1], -np.inf), highest[..., :-1]], axis=-1)
    rises = np.where(y > before, np.arange(y.shape[-1]), 0)
    reached_by = np.maximum.accumulate(rises, axis=-1)
    beaten = (before > y) | ((before == y) & (np.take_along_axis(x, reached_by, -1) > x))
    found: NDArray[np.bool_] = np.empty_like(beaten)
    np.put_along_axis(found, order, ~beaten, -1)
    return found


def resample(treatments: Sequence[Pairs], resamples: int, random: np.random.Generator) -> Floats:
    """Draw the means of every treatment anew; those with the same units together.

    Returns:
        Shape (resamples, treatments, 2).
    """
    groups: dict[frozenset[Unit], list[int]] = {}
    for place, pairs in enumerate(treatments):
        groups.setdefault(frozenset(pairs), []).append(place)
    drawn = np.empty((resamples, len(treatments), 2))
    for members in groups.values():
        units = list(treatments[members[0]])
        counts = draw_counts(len(units), resamples, random)
        for axis in (0, 1):
            values = [[treatments[i][unit][axis] for unit in units] for i in members]
            drawn[:, members, axis] = resampled_means(values, counts)
    return drawn
