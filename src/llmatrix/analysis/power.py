"""How small a difference an experiment could have seen: its minimum detectable effect.

Exact for Student's t by the noncentral t distribution (Cohen, Statistical Power Analysis for the
Behavioral Sciences, 2nd ed., 1988, chapter 2; as a multiple of the standard error: Bloom, "Minimum
detectable effects", Evaluation Review 19(5), 1995).
"""

from __future__ import annotations

import math

from llmatrix.analysis.contrasts import Contrast
from llmatrix.analysis.replicates import student_t

POWER = 0.8
"""The customary chance of seeing the effect that is there."""


def minimum_detectable(
    contrast: Contrast, *, confidence: float = 0.95, power: float = POWER
) -> float | None:
    """Give the smallest true value that such a contrast tells from zero, in its unit.

    Args:
        contrast: whose standard error and degrees of freedom are taken for the true ones.
        confidence: of the two-sided test.
        power: probability with which the value is to be seen.

    Returns:
        A size without sign; None where the contrast has no error.
    """
    if contrast.error is None:
        return None
    if contrast.error == 0.0:
        return 0.0
    return contrast.error * noncentrality(contrast.degrees, confidence=confidence, power=power)


def noncentrality(degrees: float, *, confidence: float = 0.95, power: float = POWER) -> float:
    """Give how many standard errors a true value must be to be seen with ``power``."""
    if math.isinf(degrees):
        from scipy.special import ndtri  # noqa: PLC0415 - not every command needs scipy

        return float(ndtri(0.5 + confidence / 2) + ndtri(power))
    from scipy.special import nctdtrinc  # noqa: PLC0415

    return float(nctdtrinc(degrees, 1 - power, student_t(confidence, degrees)))
