"""What every engine does: carry the trials of a plan through the steps, lane by lane."""

from __future__ import annotations

import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Protocol

from llmatrix.plan.build import Plan
from llmatrix.results.store import Store
from llmatrix.steps.events import Watch


@dataclass(frozen=True, slots=True)
class Orders:
    """What a run was told, beside the experiment.

    Attributes:
        finished: ids of trials that have a record already; they are not run.
        keep: leave what stands after the last trial.
    """

    finished: AbstractSet[str] = frozenset()
    keep: bool = False


class Engine(Protocol):
    """What carries trials through the steps."""

    name: ClassVar[str]

    def bring(self, plan: Plan, store: Store, done: AbstractSet[str], *, tell: Watch) -> int:
        """Copy to the store the records that an earlier run left where this engine keeps them.

        Those of the trials ``done`` are in the store already. Gives how many were copied; what
        could not be removed of that run is told.

        Raises:
            EnvironmentFault: it cannot be told, or they cannot be copied.
        """

    def run(
        self, plan: Plan, store: Store, orders: Orders, *, tell: Watch, stop: threading.Event
    ) -> None:
        """Run every trial of the plan that is not finished; records and failures go to the store.

        A trial that fails for good does not end the run. When ``stop`` is set, the trials on
        their way are given up, what stands is taken down (unless kept), and Stopped is raised.

        Raises:
            Stopped: the user stopped the run.
            EnvironmentFault: nothing more can be run or stored; what was finished is kept.
        """
