"""What the parent tells the measuring child, as one JSON line: no secrets, no models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from llmatrix.pace import Pace, Piece, ramped

FAILURE: Final = "failure"
PROGRESS: Final = "progress"
MEASURED: Final = "measured"


@dataclass(frozen=True, slots=True)
class Orders:
    """One workload and where it goes; lengths in tokens, times in seconds.

    ``groups`` and ``prefix_len`` are 0 where no prefix is shared. Exactly one of ``rate`` and
    ``concurrency`` is set; ``gap_cv`` is the asked coefficient of variation of an open loop's gaps,
    and its rate follows ``ramp`` from the window's start, before it stays at ``rate``.
    """

    base_url: str
    model: str
    api_key_env: str | None
    metrics_urls: tuple[str, ...]
    vocab_size: int
    tokenizer: str | None
    groups: int
    prefix_len: int
    question_len: int
    output_len: int
    rate: float | None
    gap_cv: float
    concurrency: int | None
    warmup: float
    duration: float
    drain: float
    timeout: float
    api: Literal["completions", "chat"]
    prompt: Literal["token-ids", "text"]
    seed: int
    folder: str
    ramp: tuple[Piece, ...] = ()

    @property
    def prompt_len(self) -> int:
        """Tokens of one prompt."""
        return self.prefix_len + self.question_len

    @property
    def window(self) -> tuple[float, float]:
        """Start and end of the measured window, seconds after the first request's schedule."""
        return self.warmup, self.warmup + self.duration

    @property
    def pace(self) -> Pace:
        """Rate of an open loop over the seconds after the first request's schedule."""
        return ramped(self.rate or 0.0, self.ramp, self.warmup)

    def to_line(self) -> bytes:
        """Write as one JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Orders:
        """Read what ``to_line`` wrote."""
        fields = json.loads(line)
        fields["metrics_urls"] = tuple(fields["metrics_urls"])
        fields["ramp"] = tuple(Piece(*piece) for piece in fields["ramp"])
        return cls(**fields)
