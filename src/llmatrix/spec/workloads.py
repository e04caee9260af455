"""The workload section: the traffic of one trial, one model per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, model_validator

from llmatrix.spec.base import Section
from llmatrix.spec.units import NonNegativeDuration, PositiveDuration, Rate


class OpenLoop(Section):
    """Requests arrive by a schedule, whether or not earlier ones were answered."""

    rate: Rate
    """Arrivals per second."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    """How the gaps between arrivals are distributed."""

    @property
    def label(self) -> str:
        """Give the load in a few characters, for tables."""
        return f"{self.rate:g}/s"


class ClosedLoop(Section):
    """A fixed number of requests is always in flight."""

    concurrency: PositiveInt
    """Requests in flight."""

    @property
    def label(self) -> str:
        """Give the load in a few characters, for tables."""
        return f"c={self.concurrency}"


def _load_meant(value: Any) -> str | None:
    """Tell which load is meant, by its keys; None where that is not clear."""
    if isinstance(value, (OpenLoop, ClosedLoop)):
        return type(value).__name__
    if not isinstance(value, Mapping) or ("rate" in value and "concurrency" in value):
        return None
    if "concurrency" in value:
        return "ClosedLoop"
    return "OpenLoop" if "rate" in value else None


Load = Annotated[
    Annotated[OpenLoop, Tag("OpenLoop")] | Annotated[ClosedLoop, Tag("ClosedLoop")],
    Discriminator(
        _load_meant,
        custom_error_type="load",
        custom_error_message=(
            "must be either {rate: 20} (open loop) or {concurrency: 64} (closed loop)"
        ),
    ),
]


class _Traffic(Section):
    question_len: PositiveInt
    """Tokens of the prompt that no other request shares."""
    output_len: PositiveInt
    """Tokens of each answer."""
    load: Load
    """`{rate: 20, arrivals: poisson}` or `{concurrency: 64}`."""
    duration: PositiveDuration = 30.0
    """Seconds of the measured window."""
    warmup: NonNegativeDuration = 5.0
    """Seconds under the same load before the window; their requests are not measured."""
    drain: PositiveDuration = 60.0
    """Seconds to wait, at most, for the window's last answers; the load goes on meanwhile."""
    timeout: PositiveDuration = 120.0
    """Seconds after which one request counts as failed."""
    api: Literal["completions", "chat"] = "completions"
    """Which OpenAI endpoint is asked."""
    prompt: Literal["token-ids", "text"] = "token-ids"
    """How prompts travel; endpoint pickers of the GAIE family accept text only."""
    seed: NonNegativeInt = 0
    """Chooses prompts and arrivals, together with the replicate."""
    harness: Literal["native"] = "native"
    """The program that sends the traffic and times the answers."""

    @model_validator(mode="after")
    def _chat_takes_text(self) -> Self:
        if self.api == "chat" and self.prompt == "token-ids":
            raise ValueError("api: chat takes text, not token ids; set prompt: text as well")
        return self


class RandomWorkload(_Traffic):
    """Prompts of random tokens: nothing is shared."""

    kind: Literal["random"]

    @property
    def prompt_len(self) -> int:
        """Tokens of one prompt."""
        return self.question_len


class SharedPrefixWorkload(_Traffic):
    """Prompts in groups; all prompts of a group begin with the same prefix."""

    kind: Literal["shared-prefix"]
    groups: PositiveInt
    """Different prefixes."""
    prefix_len: PositiveInt
    """Tokens of each prefix."""

    @property
    def prompt_len(self) -> int:
        """Tokens of one prompt."""
        return self.prefix_len + self.question_len


Workload = Annotated[RandomWorkload | SharedPrefixWorkload, Field(discriminator="kind")]
