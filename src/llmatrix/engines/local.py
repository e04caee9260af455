"""The embedded engine: lanes are threads here, sites are folders with processes; no cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from llmatrix.engines.protocol import Orders
from llmatrix.errors import Stopped
from llmatrix.harness.registry import harness
from llmatrix.plan.build import Lane, Plan
from llmatrix.plan.trial import Trial
from llmatrix.results.host import cpus
from llmatrix.results.store import Store
from llmatrix.stacks.local_site import LocalSite, orphans, site_folder, sweep
from llmatrix.stacks.registry import stack
from llmatrix.steps.converge import converge
from llmatrix.steps.events import Warned, Watch
from llmatrix.steps.run import TrialRun

T = TypeVar("T")

_WAKE_S: Final = 0.2


class LocalEngine:
    """Runs a plan on this machine, one thread a lane."""

    name: ClassVar[str] = "local"

    def bring(self, plan: Plan, store: Store, done: AbstractSet[str], *, tell: Watch) -> int:
        del plan, store, done, tell  # records go straight to the store
        return 0

    def run(
        self, plan: Plan, store: Store, orders: Orders, *, tell: Watch, stop: threading.Event
    ) -> None:
        lanes = [
            _LaneRun(plan, index, lane, store, orders, tell, stop)
            for index, lane in enumerate(plan.lanes)
        ]
        _end_orphans(plan, store, tell)
        if len(lanes) > 1:
            tell(
                Warned(
                    f"{len(lanes)} lanes share this machine's {cpus()} CPUs and disturb one "
                    f"another; the validity checks tell when it is too much."
                )
            )
        with ThreadPoolExecutor(max_workers=len(lanes), thread_name_prefix="lane") as pool:
            _first_error_stops_all([pool.submit(lane.run) for lane in lanes], stop)


@dataclass(frozen=True, slots=True)
class _LaneRun:
    plan: Plan
    index: int
    lane: Lane
    store: Store
    orders: Orders
    tell: Watch
    stop: threading.Event

    def run(self) -> None:
        """Run the lane's missing trials, and leave its site empty unless told to keep it."""
        fresh = self.plan.experiment.run.isolation == "fresh"
        missing = (t for t in map(self.plan.trial, self.lane.numbers()) if self._wanted(t))
        trial: Trial | None = None
        with LocalSite.open(
            site_folder(self.plan.experiment.name, self.store.url, self.index)
        ) as site:
            try:
                for trial, last in _with_last(missing):
                    closes = fresh or (last and not self.orders.keep)
                    converge(self._trial_run(trial, site, closes), retries=self._retries)
                if trial is not None and self.orders.keep and not fresh:
                    site.keep()
            finally:
                if not site.kept:
                    self._leave(site)

    @property
    def _retries(self) -> int:
        return self.plan.experiment.run.retries

    def _wanted(self, trial: Trial) -> bool:
        return trial.id not in self.orders.finished

    def _trial_run(self, trial: Trial, site: LocalSite, closes: bool) -> TrialRun:  # noqa: FBT001
        return TrialRun(
            trial=trial,
            site=site,
            stack=stack(trial.treatment.stack.kind),
            harness=harness(trial.treatment.workload.harness),
            store=self.store,
            stop=self.stop,
            tell=self.tell,
            lane=self.index,
            closes=closes,
        )

    def _leave(self, site: LocalSite) -> None:
        """Take down what an early end left standing; a measurement not yet stored stays."""
        for left in site.discard():
            self.tell(Warned(f"could not remove: {left}. `llmatrix gc` tries again."))


def _end_orphans(plan: Plan, store: Store, tell: Watch) -> None:
    """End what interrupted runs of other experiments left; it would disturb the measurement.

    Sites of this run are not touched: their lanes converge from what stands there.
    """
    ours = {site_folder(plan.experiment.name, store.url, i) for i in range(len(plan.lanes))}
    for orphan in orphans():
        if orphan.folder not in ours:
            tell(Warned(f"ending what an interrupted run left on {orphan.name}."))
            for left in sweep(orphan):
                tell(Warned(f"could not remove: {left}. `llmatrix gc` tries again."))


def _with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Give each item with whether it is the last."""
    iterator = iter(items)
    try:
        held = next(iterator)
    except StopIteration:
        return
    for item in iterator:
        yield held, False
        held = item
    yield held, True


def _first_error_stops_all(lanes: list[Future[None]], stop: threading.Event) -> None:
    """Wait for every lane; when one fails, the others end their trial's steps and stop.

    Raises:
        BaseException: what the first lane failed with.
    """
    waiting = set(lanes)
    first: BaseException | None = None
    while waiting:
        # With a timeout: a signal may meet another thread, and its handler runs in this one.
        done, waiting = wait(waiting, timeout=_WAKE_S, return_when=FIRST_COMPLETED)
        for lane in done:
            error = lane.exception()
            if error is not None:
                stop.set()
                if first is None or isinstance(first, Stopped):
                    first = error
    if first is not None:
        raise first
