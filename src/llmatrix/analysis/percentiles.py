"""Percentiles that are only told when there are samples enough to tell them.

The rule is that of MLPerf Inference's early stopping (MLCommons inference policies, "Early
Stopping", https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc; 64
queries for a 90th and 662 for a 99th percentile): of ``n`` independent samples, the number beyond
the true ``q``-quantile is binomial(``n``, ``1 - q``); at least two must be beyond it with the asked
confidence, so that the sample's second largest value bounds the quantile, and the largest one, by
itself an accident, decides nothing:

    1 - q^n - n (1 - q) q^(n-1)  >=  confidence
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.99


def _beyond_twice(n: int, q: float) -> float:
    """Give the probability that at least two of ``n`` samples are beyond the ``q``-quantile."""
    return 1.0 - q**n - n * (1.0 - q) * q ** (n - 1)


@functools.cache
def samples_needed(q: float, confidence: float = CONFIDENCE) -> int:
    """Give the fewest samples from which the ``q``-quantile (0 < q < 1) can be told.

    For ``q`` below one half the lower tail is the scarce one, so ``1 - q`` decides.

    Raises:
        ValueError: ``q`` or ``confidence`` is not strictly between 0 and 1.
    """
    if not (0.0 < q < 1.0 and 0.0 < confidence < 1.0):
        raise ValueError("a quantile and a confidence are strictly between 0 and 1")
    rarer = max(q, 1.0 - q)
    low, high = 1, 2
    while _beyond_twice(high, rarer) < confidence:
        low, high = high, 2 * high
    while high - low > 1:  # the probability grows with n, so halving finds the first n
        middle = (low + high) // 2
        if _beyond_twice(middle, rarer) < confidence:
            low = middle
        else:
            high = middle
    return high


def percentile(
    values: Sequence[float] | NDArray[np.floating],
    q: float,
    confidence: float = CONFIDENCE,
    *,
    independent: int | None = None,
) -> tuple[float | None, str]:
    """Estimate the ``q``-quantile, or say why it cannot be told.

    Args:
        values: the samples, in any order and unit.
        q: between 0 and 1: 0.99 for the 99th percentile.
        confidence: see the rule above.
        independent: how many of the samples are independent of each other, where that is fewer
            than all of them (gaps within one answer are not).

    Returns:
        The estimate (linear between the order statistics, Hyndman and Fan's type 7) and ``""``; or
        None and the reason.
    """
    needed = samples_needed(q, confidence)
    count = len(values) if independent is None else min(independent, len(values))
    if count < needed:
        name = f"p{100 * q:.6g}"
        return None, (
            f"{name} needs {needed} samples at {100 * confidence:.6g}% confidence; there are "
            f"{count}"
        )
    samples = np.asarray(values, dtype=np.float64)
    if not np.isfinite(samples).all():
        return None, "a sample is not finite"
    return float(np.quantile(samples, q)), ""
