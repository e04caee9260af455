"""A record as far as the table ``trials`` needs it, read several times as fast as a ``Record``.

Nothing is read here that ``records.read_record`` would refuse: every field has the type that
``Record`` gives it, unknown ones are not let through, and whatever does not fit is None, so that
the caller reads it the long way and tells what is wrong with it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
import orjson

from llmatrix.analysis.checks import Verdict
from llmatrix.plan.step import Step

if TYPE_CHECKING:
    from llmatrix.results.record import Record


_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""``Record`` refuses some whole numbers that are longer."""


class _Part(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a record is made of; like ``Record``, it has no fields but its own."""


class StepRow(_Part, frozen=True):
    """``record.StepOutcome``."""

    step: Step
    outcome: Literal["applied", "unchanged", "skipped", "failed"]
    seconds: float
    key: str
    detail: str = ""


class AttemptRow(_Part, frozen=True):
    """``record.Attempt``."""

    step: Step
    failure: str
    message: str
    seconds: float


class CheckRow(_Part, frozen=True):
    """``analysis.checks.Check``."""

    name: str
    figure: float | None
    limit: str
    verdict: Verdict
    advice: str = ""


class FileRow(_Part, frozen=True):
    """``record.StoredFile``."""

    bytes: _Int
    sha256: str


class TrialRow(_Part, frozen=True):
    """``record.Record``, version 1: the same names and meanings."""

    version: Literal[1]
    trial: str
    experiment: str
    levels: dict[str, str]
    replicate: dict[str, _Int]
    written: msgspec.Raw = msgspec.field(name="document")
    """The text of ``document``; replicates share it, so that ``document`` reads it only once."""
    versions: dict[str, str]
    keys: dict[str, str]
    traffic_seed: _Int
    simulated: bool
    accelerators: _Int
    started_at: float
    ended_at: float
    window_s: tuple[float, float]
    steps: list[StepRow]
    metrics: dict[str, float | None]
    checks: list[CheckRow]
    attempts: list[AttemptRow] = []
    withheld: dict[str, str] = {}
    notes: list[str] = []
    host: dict[str, Any] = {}
    files: dict[str, FileRow] = {}

    @property
    def document(self) -> Any:
        """The resolved model, stack and workload."""
        return _document(bytes(self.written))


Measured: TypeAlias = "Record | TrialRow"
"""A measured trial, read either way."""

_DECODER: Final = msgspec.json.Decoder(TrialRow)


def read_row(content: bytes, experiment: str, trial: str) -> TrialRow | None:
    """Read the text of a record; None where only the long way can tell what it is."""
    try:
        row = _DECODER.decode(content)
        mine = (row.trial, row.experiment) == (trial, experiment)
        return row if mine and isinstance(row.document, dict) else None
    except (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None


@cache
def _document(text: bytes) -> Any:
    return orjson.loads(text)
