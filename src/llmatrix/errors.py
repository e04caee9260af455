"""Every error llmatrix raises on purpose, and the exit code each one ends the program with.

    LlmatrixError
    ├── UserError            2  what the user wrote is wrong; nothing was started
    │   └── SpecError           … at a place in a file
    ├── EnvironmentFault     3  the machine, the cluster or the store is not fit
    │   └── StoreFault          … the store cannot be read or written
    └── StepFailure          1  one step of one trial failed (a class says what may mend it)

A message says what was wrong, where (file:line:column or object) and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class LlmatrixError(Exception):
    """Base of every error raised on purpose; its text is shown to the user as it is."""

    exit_code: ClassVar[int] = 1


class UserError(LlmatrixError):
    """What the user asked for is wrong. Raised before anything is started."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something stands; lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """Give ``file:line:column``, as editors and terminals make it a link."""
        return ":".join(
            str(part) for part in (self.file, self.line, self.column) if part is not None
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document: where, which dotted path, what, and what to do."""

    place: Place
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """Give the one clear sentence that the user reads."""
        where = f"{self.place}: {self.path}: " if self.path else f"{self.place}: "
        advice = f" {self.suggestion}" if self.suggestion else ""
        return f"{where}{self.message}{advice}"


class SpecError(UserError):
    """An experiment file, or a file that it names, is wrong at known places."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class EnvironmentFault(LlmatrixError):
    """The machine, the cluster or a program that llmatrix needs is not fit."""

    exit_code = 3


class StoreFault(EnvironmentFault):
    """The store cannot be read or written (full, no rights, not there)."""


class FailureClass(StrEnum):
    """What kind of thing failed, and so what may mend it (see ``steps.retry``)."""

    ENVIRONMENT = "environment"
    """The machine or cluster: try again after a pause."""
    SERVER = "server"
    """The stack: make it anew, then try again."""
    WORKLOAD = "workload"
    """The load generator or its connection: run the workload again, once."""
    USER = "user"
    """What was asked for cannot work: never try again."""


class StepFailure(LlmatrixError):
    """A step could not reach what the trial wants; nothing is claimed as standing.

    Attributes:
        failure: the class of the failure, which decides about retries.
        log: the last lines of whatever log explains it, for the record.
    """

    def __init__(self, message: str, failure: FailureClass, *, log: str = "") -> None:
        super().__init__(message)
        self.failure = failure
        self.log = log


class Stopped(LlmatrixError):
    """The user stopped the run; what was finished is kept."""

    exit_code = 130


class Detached(Stopped):
    """The user stopped watching a run that goes on elsewhere."""


class Cancelled(Stopped):
    """Somebody ended elsewhere the run that was followed; what was finished is kept."""
