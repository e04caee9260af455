"""What every kind of stack can do; implementations are in the modules beside this one.

The converge loop owns the keys: it asks ``healthy`` whether what a key claims still works, calls
``apply`` to make a step so, and writes the key only after ``apply`` returned.
"""

from __future__ import annotations

import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Protocol

from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks.site import Site
from llmatrix.target import Target


@dataclass(frozen=True, slots=True)
class Hygiene:
    """What was done so that one trial leaves nothing in the caches of the next.

    Attributes:
        clean: whether caches are verified to be empty; None where nobody can tell.
        detail: how it was verified, or why not, in words.
    """

    clean: bool | None
    detail: str


class Stack(Protocol):
    """Everything that serves the model: gateway, router, model files, servers."""

    kind: ClassVar[str]
    version: ClassVar[str]
    """Changes whenever the same treatment would be served differently; part of every trial's id."""

    def check(self, treatment: Treatment) -> None:
        """Check what the treatment says by itself: the same everywhere, asking nobody.

        Raises:
            UserError: the treatment cannot work on this kind of stack.
        """

    def preflight(self, treatment: Treatment) -> None:
        """Check what can be checked before anything is started; touches nothing.

        Raises:
            UserError: the treatment cannot work on this kind of stack, or not here.
            EnvironmentFault: something that it needs is not there.
        """

    def healthy(self, step: Step, trial: Trial, site: Site) -> bool:
        """Tell whether what stands for ``step`` still works. Quick; never raises for a dead one."""

    def apply(self, step: Step, trial: Trial, site: Site, stop: threading.Event) -> None:
        """Make ``step`` so, whatever stands, and return when it is ready.

        Raises:
            StepFailure: it could not be made so; its class says what may mend it.
            Stopped: ``stop`` was set meanwhile.
        """

    def target(self, trial: Trial, site: Site) -> Target:
        """Say where the workload goes.

        Raises:
            StepFailure: the model that answers is not the one that the trial wants.
        """

    def cleanse(self, trial: Trial, site: Site, changed: AbstractSet[Step]) -> Hygiene:
        """Empty caches that an earlier trial filled, and verify it.

        Servers that were not applied in this trial drop their prefix cache; when the servers
        changed, the router drops what it learnt. ``changed`` holds the steps applied just now.
        """

    def restarts(self, trial: Trial, site: Site) -> int:
        """Count servers that ended since they were applied; 0 where nobody can tell."""

    def endings(self, trial: Trial, site: Site) -> list[str]:
        """Say how servers ended since they were applied, in words; of as many as is known."""

    def logs(self, site: Site) -> dict[str, str]:
        """Give the logs of what stands, by file name, their last 256 KiB each."""

    def remove(self, site: Site) -> list[str]:
        """Take down everything that this stack made on the site.

        Returns:
            What could not be removed, in words; empty when nothing is left.
        """
