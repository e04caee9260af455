"""What the parent tells the measuring child, as one JSON line: no secrets, no models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

FAILURE: Final = "failure"
PROGRESS: Final = "progress"
MEASURED: Final = "measured"


@dataclass(frozen=True, slots=True)
class Orders:
    """One workload and where it goes; lengths in tokens, times in seconds.

    ``groups`` and ``prefix_len`` are 0 where no prefix is shared. Exactly one of ``rate`` and
    ``concurrency`` is set.
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
    arrivals: Literal["poisson", "constant"]
    concurrency: int | None
    warmup: float
    duration: float
    drain: float
    timeout: float
    api: Literal["completions", "chat"]
    prompt: Literal["token-ids", "text"]
    seed: int
    folder: str

    @property
    def prompt_len(self) -> int:
        """Tokens of one prompt."""
        return self.prefix_len + self.question_len

    @property
    def window(self) -> tuple[float, float]:
        """Start and end of the measured window, seconds after the first request's schedule."""
        return self.warmup, self.warmup + self.duration

    def to_line(self) -> bytes:
        """Write as one JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Orders:
        """Read what ``to_line`` wrote."""
        fields = json.loads(line)
        return cls(**{**fields, "metrics_urls": tuple(fields["metrics_urls"])})
