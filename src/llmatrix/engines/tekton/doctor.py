"""Whether a cluster can run an experiment: one question after another, each with its answer.

The questions are in ``doctor_cluster`` (any experiment) and ``doctor_experiment`` (what a file's
stack and store want). A question that our account may not ask has a warning for its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.facts import Tekton
from llmatrix.cluster.faults import ClusterFault, Refused, Unreachable
from llmatrix.engines.tekton.settings import Settings
from llmatrix.plan.build import Plan


class Verdict(StrEnum):
    """How an answer is to be taken."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        about: what was asked about, in a word or two.
        verdict: ok, warning or wrong.
        told: the answer, in words.
        mend: the command that mends it, or "".
    """

    about: str
    verdict: Verdict
    told: str
    mend: str = ""

    def document(self) -> dict[str, str]:
        """Give it as plain data."""
        return {
            "about": self.about,
            "verdict": self.verdict.value,
            "told": self.told,
            "mend": self.mend,
        }


def ok(about: str, told: str) -> Answer:
    """Say that all is well."""
    return Answer(about, Verdict.OK, told)


def warning(about: str, told: str, mend: str = "") -> Answer:
    """Say what a reader should know, and what stops nothing."""
    return Answer(about, Verdict.WARNING, told, mend)


def wrong(about: str, told: str, mend: str = "") -> Answer:
    """Say what must be mended first."""
    return Answer(about, Verdict.WRONG, told, mend)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the questions are asked of.

    Attributes:
        cluster: the API server.
        home: namespace of the PipelineRuns.
        tekton: what is installed, or None.
        openshift: whether the cluster is one.
        plan: of the file, or None where no file was given.
        settings: of the file, or None.
    """

    cluster: Cluster
    home: str
    tekton: Tekton | None
    openshift: bool
    plan: Plan | None = None
    settings: Settings | None = None


Question = Callable[[Asked], Iterator[Answer]]


def examine(asked: Asked, questions: Iterable[tuple[str, Question]]) -> Iterator[Answer]:
    """Ask one question after another.

    Args:
        asked: of whom.
        questions: each with what it is about.
    """
    for about, question in questions:
        try:
            yield from question(asked)
        except Unreachable as error:
            yield wrong(about, str(error), "kubectl cluster-info")
            return
        except Refused as error:
            yield warning(about, f"cannot be told: {error}")
        except ClusterFault as error:
            yield wrong(about, str(error))
