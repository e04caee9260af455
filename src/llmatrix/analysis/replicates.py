"""Replicates are the unit of inference: means and intervals over them, never over requests.

Requests of one trial share a server, its caches and its queue, so they are no independent
repetitions; only whole trials are. Workload replicates on one deployment share that deployment;
where deployments are repeated too, each deployment's mean is one unit (a nested design: Cox and
Reid, The Theory of the Design of Experiments, 2000, section 6.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over replicates and how sure it is; in the unit of the values.

    Attributes:
        n: independent units; 0 means that there is nothing.
        mean: arithmetic mean; None for n = 0.
        half_width: of the Student t interval around the mean; None below two units, where
            nothing can be said about the spread.
        confidence: of that interval.
    """

    n: int
    mean: float | None
    half_width: float | None
    confidence: float = 0.95

    @property
    def why_no_interval(self) -> str:
        """Say why there is no interval; empty where there is one."""
        if self.half_width is not None:
            return ""
        return "nothing was measured" if self.n == 0 else "one replicate has no interval"


def units(values: Mapping[tuple[int, int], float]) -> list[float]:
    """Give the independent units among the replicates of one treatment.

    Args:
        values: by (deployment, workload) number.

    Returns:
        The mean of each deployment where there are several, else every workload's value.
    """
    deployments: dict[int, list[float]] = {}
    for (deployment, _), value in sorted(values.items()):
        deployments.setdefault(deployment, []).append(value)
    if len(deployments) == 1:
        return next(iter(deployments.values()))
    return [fmean(part) for part in deployments.values()]


def keyed_units(
    values: Mapping[tuple[int, int], float], traffic: Mapping[tuple[int, int], int]
) -> dict[tuple[str, int], float]:
    """Give the independent units of one treatment by what they stood on, for ``contrasts``.

    Args:
        values: by (deployment, workload) number.
        traffic: the seed of each one's traffic, by the same numbers; equal seeds are the same
            requests at the same moments.

    Returns:
        Where there are several deployments, the mean of each by its repetition; else every
        workload's value by the seed of its traffic.
    """
    if len({deployment for deployment, _ in values}) == 1:
        return {("traffic", traffic[which]): value for which, value in sorted(values.items())}
    deployments: dict[int, list[float]] = {}
    for (deployment, _), value in sorted(values.items()):
        deployments.setdefault(deployment, []).append(value)
    return {("deployment", number): fmean(part) for number, part in deployments.items()}


def estimate(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of ``values``, one per independent unit.

    The half-width is t(1 - (1 - confidence) / 2, n - 1) * s / sqrt(n) (Student, "The probable
    error of a mean", Biometrika 6, 1908).
    """
    n = len(values)
    if n == 0:
        return Estimate(0, None, None, confidence)
    if n == 1:
        return Estimate(1, values[0], None, confidence)
    spread = math.sqrt(variance(values) / n)
    return Estimate(n, fmean(values), student_t(confidence, n - 1) * spread, confidence)


def variance(values: Sequence[float]) -> float:
    """Give the unbiased variance of at least two values.

    By two passes with a correction for the mean's rounding (Chan, Golub and LeVeque, "Algorithms
    for computing the sample variance", The American Statistician 37(3), 1983); the exact one of
    ``statistics`` takes twenty times as long, which a page of a thousand trials feels.
    """
    mean = fmean(values)
    off = [value - mean for value in values]
    square = math.fsum(each * each for each in off) - math.fsum(off) ** 2 / len(off)
    return max(0.0, square) / (len(off) - 1)


def student_t(confidence: float, degrees: float) -> float:
    """Give the two-sided quantile of Student's t for ``degrees`` of freedom."""
    from scipy.special import stdtrit  # noqa: PLC0415 - not every command needs scipy

    return float(stdtrit(degrees, 0.5 + confidence / 2))


def student_ts(confidence: float, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give ``student_t`` for many degrees of freedom; the shape of ``degrees``."""
    from scipy.special import stdtrit  # noqa: PLC0415 - see student_t

    return np.asarray(stdtrit(degrees, 0.5 + confidence / 2), dtype=np.float64)
