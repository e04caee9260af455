"""What one trial left behind: ``record.json``, versioned, with a reader for each version."""

from __future__ import annotations

import builtins
import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmatrix.analysis.checks import Check, Verdict
from llmatrix.plan.step import Step


class Outcome(StrEnum):
    """What became of a step."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepOutcome(_Part):
    """One step of one trial: what became of it, how long it took, the key it wanted."""

    step: Step
    outcome: Outcome
    seconds: float
    key: str
    detail: str = ""


class Attempt(_Part):
    """One try that failed, before the one that is recorded."""

    step: Step
    failure: str
    message: str
    seconds: float


class StoredFile(_Part):
    """A file beside the record."""

    bytes: int
    sha256: str

    def matches(self, content: memoryview | builtins.bytes) -> bool:
        """Tell whether ``content`` is what was stored."""
        return len(content) == self.bytes and hashlib.sha256(content).hexdigest() == self.sha256


class Record(_Part):
    """A measured trial; ``record.json``, version 1. Its presence means that the trial is done.

    ``metrics`` are named with their unit (``ttft_ms_p99``, ``output_tokens_per_s``); one that is
    None has its reason in ``withheld``. Times of day are POSIX seconds.
    """

    version: Literal[1] = 1
    trial: str
    experiment: str
    levels: dict[str, str]
    replicate: dict[str, int]
    document: dict[str, Any]
    """The resolved model, stack and workload."""
    versions: dict[str, str]
    keys: dict[str, str]
    traffic_seed: int
    simulated: bool
    accelerators: int
    started_at: float
    ended_at: float
    window_s: tuple[float, float]
    """Start and end of the measured window, seconds after the first scheduled request."""
    steps: list[StepOutcome]
    attempts: list[Attempt] = Field(default_factory=list)
    metrics: dict[str, float | None]
    withheld: dict[str, str] = Field(default_factory=dict)
    checks: list[Check]
    notes: list[str] = Field(default_factory=list)
    host: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, StoredFile] = Field(default_factory=dict)

    @property
    def control(self) -> int:
        """Which control trial of its deployment it is, from 1; 0 for a replicate."""
        return self.replicate.get("control", 0)

    @property
    def valid(self) -> bool:
        """Whether every check lets the figures be trusted."""
        return all(check.verdict is not Verdict.FAIL for check in self.checks)

    @property
    def failed_checks(self) -> list[Check]:
        """The checks that make this trial invalid."""
        return [check for check in self.checks if check.verdict is Verdict.FAIL]


class Failure(_Part):
    """A trial that could not be measured; ``failure.json``, removed once a record is there."""

    version: Literal[1] = 1
    trial: str
    experiment: str
    levels: dict[str, str]
    replicate: dict[str, int]
    steps: list[StepOutcome]
    attempts: Annotated[list[Attempt], Field(min_length=1)]
    """Every try, the last one included."""
    ended_at: float
    log: str = ""
    """The last lines of the log that explains it."""
