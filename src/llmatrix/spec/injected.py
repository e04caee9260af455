"""What is let go wrong with simulated servers on purpose, one model per kind of fault."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from llmatrix.spec.base import Section
from llmatrix.spec.units import Duration, NonNegativeDuration, PositiveDuration


class _Fault(Section):
    """One thing that happens to one replica."""

    replica: NonNegativeInt = 0
    """Which replica, from 0."""
    role: Literal["prefill"] | None = None
    """`prefill`: it is counted among those that prefill only; none: among the others."""
    duration: PositiveDuration | None = None
    """Seconds that it lasts; none: for as long as the trial does."""


class Slow(_Fault):
    """Each step of the replica takes longer."""

    kind: Literal["slow"]
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    """How many times as long."""
    at: NonNegativeDuration = 0.0
    """Seconds from the trial's beginning, when caches were emptied, before its prompts are made."""


class Stall(_Fault):
    """The replica takes requests and computes nothing."""

    kind: Literal["stall"]
    at: NonNegativeDuration = 0.0
    """Seconds from the trial's beginning, when caches were emptied, before its prompts are made."""


class Crash(_Fault):
    """The replica resets its connections, and comes back, if it does, with an empty cache."""

    kind: Literal["crash"]
    at: Annotated[Duration, Field(ge=1, allow_inf_nan=False)]
    """Seconds from the trial's beginning, when caches were emptied, before its prompts are made."""


Injected = Annotated[Slow | Stall | Crash, Field(discriminator="kind")]
