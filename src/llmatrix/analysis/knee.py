"""The knee of the latency-throughput curve: where more load stops paying.

Kleinrock's *power*, throughput divided by latency, is greatest where a ray from the origin touches
the curve: below that load there is throughput to be had for little latency, above it latency grows
faster than throughput ("Power and deterministic rules of thumb for probabilistic problems in
computer communications", ICC 1979). The knee told is one of the measured loads; how sure it is is
the share of resamples of the replicates (``bootstrap``) that name the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmatrix.analysis.bootstrap import RESAMPLES, SEED
from llmatrix.analysis.contrasts import MIN_UNITS
from llmatrix.analysis.pareto import Pairs, resample


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the curve bends.

    Attributes:
        load: the measured load of greatest power.
        throughput, latency: means there.
        share: of the resamples that name this load, from 0 to 1; None without replicates.
        at_edge: whether it is the lowest or highest load measured, so that the true knee may lie
            beyond.
    """

    load: float
    throughput: float
    latency: float
    share: float | None
    at_edge: bool


def knee(
    loads: Mapping[float, Pairs], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Knee | None:
    """Find the knee.

    Args:
        loads: for each load, its units' throughput and latency.
        resamples: how many times the replicates are drawn.
        seed: of the draws.

    Returns:
        None below three loads with a positive latency, which make no curve.
    """
    told = {
        load: pairs
        for load, pairs in sorted(loads.items())
        if pairs and all(latency > 0 for _, latency in pairs.values())
    }
    if len(told) < 3:  # noqa: PLR2004 - two points make a line
        return None
    own = np.array([np.mean(list(pairs.values()), axis=0) for pairs in told.values()])
    at = int(np.argmax(own[:, 0] / own[:, 1]))
    share = None
    if min(map(len, told.values())) >= MIN_UNITS:
        drawn = resample(list(told.values()), resamples, np.random.default_rng(seed))
        # A mean drawn at or below zero has no power; the widened draws can reach there.
        latency = np.where(drawn[..., 1] > 0, drawn[..., 1], np.inf)
        share = float((np.argmax(drawn[..., 0] / latency, axis=1) == at).mean())
    return Knee(
        load=list(told)[at],
        throughput=float(own[at, 0]),
        latency=float(own[at, 1]),
        share=share,
        at_edge=at in {0, len(told) - 1},
    )
