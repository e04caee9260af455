"""What a download tells: its progress line by line, and its end in one short document.

Kubernetes keeps the end of a pod's container in its status, 4,096 bytes of it ("Determine the
Reason for Pod Failure"), so that whoever waits for the Job learns why it failed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Self

from llmatrix.errors import FailureClass, StepFailure

_LONGEST: Final = 640
"""Characters of a message: six bytes each at the worst, as JSON writes them."""
_GIB: Final = 2**30
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Done:
    """A download that ended well.

    Attributes:
        files: that lie there.
        total_bytes: of those.
        downloaded_bytes: of those, what had to be fetched now.
    """

    files: int
    total_bytes: int
    downloaded_bytes: int

    def encoded(self) -> str:
        """Write it as a document."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        """Say it in words."""
        whole = f"{self.files} files, {size(self.total_bytes)}"
        if not self.downloaded_bytes:
            return f"{whole}, all there already"
        return f"{whole}, {size(self.downloaded_bytes)} of it downloaded now"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, in bytes; what lay there already counts."""

    done_bytes: int
    total_bytes: int

    def encoded(self) -> str:
        """Write it as a line."""
        return json.dumps(asdict(self))

    @classmethod
    def last(cls, log: str) -> Self | None:
        """Read the last line of that kind in a log."""
        for line in reversed(log.splitlines()):
            try:
                return cls(**json.loads(line))
            except (ValueError, TypeError):
                continue
        return None

    def __str__(self) -> str:
        """Say it in words."""
        return f"{size(self.done_bytes)} of {size(self.total_bytes)} downloaded"


def encoded_failure(failure: StepFailure) -> str:
    """Write why a download failed as a document."""
    return json.dumps({"failure": failure.failure.value, "message": str(failure)[:_LONGEST]})


def read(document: str) -> Done | StepFailure | None:
    """Read how a download ended; None where the document is not one of ours."""
    try:
        found = json.loads(document)
        if "failure" in found:
            return StepFailure(str(found["message"]), FailureClass(found["failure"]))
        return Done(**found)
    except (ValueError, TypeError, KeyError):
        return None


def size(number: float) -> str:
    """Write bytes for people: ``3.2 GiB``, ``14 MiB``."""
    if number >= _GIB:
        return f"{number / _GIB:.1f} GiB"
    return f"{number / _MIB:.1f} MiB" if number >= _MIB else f"{number:.0f} bytes"
