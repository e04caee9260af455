"""The cluster bootstrap: replicates are drawn anew, each with everything that is in it.

Requests of one replicate depend on each other, so whole replicates are the clusters that are
drawn with replacement (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section
3.8; Cameron, Gelbach and Miller, "Bootstrap-based improvements for inference with clustered
errors", Review of Economics and Statistics 90(3), 2008). Among few clusters the plain percentile
interval is far too narrow, so the bootstrap gives the standard error only: it is widened by
sqrt(n / (n - 1)) and multiplied by Student's t of n - 1 degrees of freedom (Hesterberg, "What
teachers should know about the bootstrap", The American Statistician 69(4), 2015). For a mean this
is Student's own interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from llmatrix.analysis.replicates import Estimate, student_t

T = TypeVar("T")
RESAMPLES = 2000
SEED = 20_260_101
"""The same data give the same figures on every machine."""


def draw_counts(n: int, resamples: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw how often each of ``n`` clusters is in each resample; shape (resamples, n)."""
    return random.multinomial(n, np.full(n, 1 / n), size=resamples)


def widening(n: int) -> float:
    """Give the factor by which the spread of resampled means falls short, sqrt(n / (n - 1))."""
    return math.sqrt(n / (n - 1)) if n > 1 else 1.0


def cluster_bootstrap(
    clusters: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """Estimate a statistic of pooled replicates, such as a percentile of all their requests.

    Args:
        clusters: what each replicate holds (the values of its requests).
        statistic: of a list of replicates; None where it cannot be told.
        confidence: of the interval.
        resamples: how many times the replicates are drawn.
        seed: of the draws.

    Returns:
        The statistic of the clusters as they are. No half-width below two clusters, or where more
        than one of twenty resamples has no statistic.
    """
    n = len(clusters)
    if n == 0:
        return Estimate(0, None, None, confidence)
    value = statistic(clusters)
    if value is None or n == 1:
        return Estimate(n, value, None, confidence)
    random = np.random.default_rng(seed)
    drawn = (
        statistic(
            [cluster for cluster, count in zip(clusters, row, strict=True) for _ in range(count)]
        )
        for row in draw_counts(n, resamples, random).tolist()
    )
    told = [one for one in drawn if one is not None]
    if len(told) < resamples * 0.95:
        return Estimate(n, value, None, confidence)
    error = float(np.std(told)) * widening(n)
    return Estimate(n, value, student_t(confidence, n - 1) * error, confidence)


def resampled_means(
    samples: Sequence[Sequence[float] | NDArray[np.float64]], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the means of samples with common units under each resample of the units.

    Deviations from the samples' own means are widened, so that they spread as means do.

    Args:
        samples: shape (samples, units); a value of each unit.
        counts: shape (resamples, units), of ``draw_counts``.

    Returns:
        Shape (resamples, samples).
    """
    values = np.asarray(samples, dtype=np.float64)
    own = values.mean(axis=1)
    n = values.shape[1]
    deviations: NDArray[np.float64] = counts @ (values - own[:, None]).T / n
    means: NDArray[np.float64] = own + widening(n) * deviations
    return means
