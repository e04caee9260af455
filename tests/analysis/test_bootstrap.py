from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llmatrix.analysis.bootstrap import (
    cluster_bootstrap,
    draw_counts,
    resampled_means,
    widening,
)
from llmatrix.analysis.replicates import estimate

REPLICATES = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, 6.0], [1.5, 2.5, 2.0]]


def pooled_mean(clusters: Sequence[Sequence[float]]) -> float:
    return float(np.mean(np.concatenate(clusters)))


def test_for_a_mean_of_equal_replicates_it_is_students_interval() -> None:
    found = cluster_bootstrap(REPLICATES, pooled_mean, resamples=20_000)
    exact = estimate([float(np.mean(cluster)) for cluster in REPLICATES])
    assert found.mean == pytest.approx(exact.mean)
    assert found.half_width == pytest.approx(exact.half_width, rel=0.02)
    assert found.n == 4


def test_more_requests_in_a_replicate_make_it_no_surer() -> None:
    """Requests of one replicate are not independent: copies of them add nothing."""
    once = cluster_bootstrap(REPLICATES, pooled_mean)
    often = cluster_bootstrap([cluster * 50 for cluster in REPLICATES], pooled_mean)
    assert often.half_width == pytest.approx(once.half_width)


def test_the_same_data_give_the_same_interval() -> None:
    assert cluster_bootstrap(REPLICATES, pooled_mean) == cluster_bootstrap(REPLICATES, pooled_mean)


def test_what_cannot_be_told_has_no_interval() -> None:
    assert cluster_bootstrap([], pooled_mean).mean is None
    assert cluster_bootstrap([[1.0]], pooled_mean).half_width is None
    assert cluster_bootstrap(REPLICATES, lambda _: None).mean is None

    def rarely(clusters: Sequence[Sequence[float]]) -> float | None:
        return 1.0 if any(6.0 in cluster for cluster in clusters) else None

    assert cluster_bootstrap(REPLICATES, rarely).half_width is None  # a third of them lack it


def test_resampled_means_spread_as_means_do() -> None:
    random = np.random.default_rng(1)
    values = [1.0, 4.0, 2.0]
    drawn = resampled_means([values], draw_counts(3, 50_000, random))
    assert drawn.mean() == pytest.approx(np.mean(values), abs=0.01)
    assert drawn.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=0.02)
    assert widening(1) == 1.0
