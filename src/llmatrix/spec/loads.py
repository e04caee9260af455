"""The load of a workload: when requests are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from llmatrix.pace import Piece, Process, gap_cv
from llmatrix.spec.base import Section
from llmatrix.spec.units import PositiveDuration, Rate


class _Arrivals(Section):
    arrivals: Process = "poisson"
    """How the gaps between arrivals are distributed."""
    cv: Annotated[float, Field(gt=0, le=10)] | None = None
    """Burstiness of gamma arrivals: standard deviation of the gaps divided by their mean."""

    @property
    def gap_cv(self) -> float:
        """Give the coefficient of variation that the gaps are asked to have."""
        return gap_cv(self.arrivals, self.cv)

    @model_validator(mode="after")
    def _gamma_has_a_cv(self) -> Self:
        if (self.arrivals == "gamma") != (self.cv is not None):
            raise ValueError("cv goes with arrivals: gamma, and gamma needs it: 2 is bursty")
        return self


class OpenLoop(_Arrivals):
    """Requests arrive by a schedule, whether or not earlier ones were answered."""

    rate: Rate
    """Arrivals per second."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Give how the rate goes from the window's start, before ``final_rate``: there is none."""
        return ()

    @property
    def final_rate(self) -> float:
        """Give the rate that stays."""
        return self.rate


class Segment(Section):
    """A part of a ramp, in which the rate stays, or goes in a straight line to another."""

    rate: Rate
    """Arrivals per second at its beginning."""
    to: Rate | None = None
    """Arrivals per second at its end; the same as `rate` if left out."""
    duration: PositiveDuration
    """Seconds that it lasts."""

    @property
    def piece(self) -> Piece:
        """Give it as a piece of a pace."""
        return Piece(self.duration, self.rate, self.rate if self.to is None else self.to)


class RampedLoop(_Arrivals):
    """An open loop whose rate changes over the window."""

    ramp: Annotated[tuple[Segment, ...], Field(strict=False, min_length=1)]
    """Segments from the window's start; warm-up has the first rate, and the last one stays."""

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Give how the rate goes from the window's start, before ``final_rate``."""
        return tuple(segment.piece for segment in self.ramp)

    @property
    def final_rate(self) -> float:
        """Give the rate that stays when the ramp is over."""
        return self.pieces[-1].end


class ClosedLoop(Section):
    """A fixed number of requests is always in flight."""

    concurrency: PositiveInt
    """Requests in flight."""


_LOADS: Final = {"rate": OpenLoop, "ramp": RampedLoop, "concurrency": ClosedLoop}


def _load_meant(value: Any) -> str | None:
    """Tell which load is meant, by its keys; None where that is not clear."""
    if isinstance(value, tuple(_LOADS.values())):
        return type(value).__name__
    if not isinstance(value, Mapping):
        return None
    meant = [model.__name__ for key, model in _LOADS.items() if key in value]
    return meant[0] if len(meant) == 1 else None


Load = Annotated[
    Annotated[OpenLoop, Tag("OpenLoop")]
    | Annotated[RampedLoop, Tag("RampedLoop")]
    | Annotated[ClosedLoop, Tag("ClosedLoop")],
    Discriminator(
        _load_meant,
        custom_error_type="load",
        custom_error_message=(
            "must be {rate: 20} (open loop), {concurrency: 64} (closed loop) or "
            "{ramp: [{rate: 5, to: 50, duration: 30s}]} (open loop whose rate changes)"
        ),
    ),
]
