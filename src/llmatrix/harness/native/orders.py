"""What the parent tells a measuring child, as one JSON line: no secrets, no models.

After its orders a child is told ``start``, ``end`` and, the first of several, ``collect``; it
tells ``ready``, ``progress``, ``answered``, ``figures`` and ``written``, or ``failure``. Each is a
JSON object on a line of its own, with its name under ``kind``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from llmatrix.pace import Pace, Piece, ramped

START: Final = "start"
END: Final = "end"
COLLECT: Final = "collect"

READY: Final = "ready"
PROGRESS: Final = "progress"
ANSWERED: Final = "answered"
FIGURES: Final = "figures"
WRITTEN: Final = "written"
FAILURE: Final = "failure"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file of recorded traffic: where it is, and the hash that its content must have."""

    path: str
    sha256: str
    speed: float = 1.0
    unit: Literal["s", "ms"] = "s"


@dataclass(frozen=True, slots=True)
class Orders:
    """One workload and where it goes; lengths in tokens, times in seconds.

    ``groups`` and ``prefix_len`` are 0 where no prefix is shared, ``question_len`` and
    ``output_len`` where a file gives them. At most one of ``rate`` and ``concurrency`` is set; with
    neither, the trace says when. ``gap_cv`` is the asked coefficient of variation of an open loop's
    gaps, and its rate follows ``ramp`` from the window's start, before it stays at ``rate``.

    What arrives, or takes up a slot, is a session of ``turns`` requests; for every kind but
    ``multi-turn`` there is one. Between two turns, ``think_time`` passes on average, with the
    coefficient of variation ``think_cv``.

    Of ``shards`` processes that send the workload together, this one is number ``shard``: it sends
    the sessions, and fills the slots, whose number leaves ``shard`` when divided by ``shards``.
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
    stream: bool = True
    turns: int = 1
    think_time: float = 0.0
    think_cv: float = 0.0
    history: Literal["made", "received"] = "made"
    dataset: Recorded | None = None
    trace: Recorded | None = None
    shard: int = 0
    shards: int = 1

    @property
    def window(self) -> tuple[float, float]:
        """Start and end of the measured window, seconds after the first request's schedule."""
        return self.warmup, self.warmup + self.duration

    @property
    def pace(self) -> Pace:
        """Rate of an open loop over the seconds after the first request's schedule."""
        return ramped(self.rate or 0.0, self.ramp, self.warmup)

    def spool(self, shard: int) -> Path:
        """Name the file in which a shard puts its ended requests aside."""
        return Path(self.folder) / "spool" / f"requests-{shard}"

    @property
    def scrapes(self) -> Path:
        """Name the file in which scraped metrics are put aside."""
        return Path(self.folder) / "spool" / "scrapes"

    def to_line(self) -> bytes:
        """Write as one JSON line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Orders:
        """Read what ``to_line`` wrote."""
        fields = json.loads(line)
        fields["metrics_urls"] = tuple(fields["metrics_urls"])
        fields["ramp"] = tuple(Piece(*piece) for piece in fields["ramp"])
        for name in ("dataset", "trace"):
            fields[name] = Recorded(**fields[name]) if fields[name] else None
        return cls(**fields)
