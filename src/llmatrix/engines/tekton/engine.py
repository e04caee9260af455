"""The Tekton engine: compile what is missing, submit it, follow it, collect what it left.

Everything that a run needs to go on is on the cluster, under names that the experiment gives. So
a run that was left (Ctrl-C, a closed laptop, kill -9) is taken up by the same command: it adopts
the PipelineRuns that are under way, and submits only what is then still missing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import ClassVar, Final

from llmatrix.cluster import facts, labels, users
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PIPELINE_RUN, TASK_RUN, Object
from llmatrix.cluster.naming import short_hash
from llmatrix.cluster.watching import Seen, Wanted, following
from llmatrix.engines.protocol import Orders
from llmatrix.engines.tekton import earlier, gateways
from llmatrix.engines.tekton.cancel import of_experiment
from llmatrix.engines.tekton.collect import Collector
from llmatrix.engines.tekton.compile import compiled
from llmatrix.engines.tekton.leaving import end_kept, leave
from llmatrix.engines.tekton.progress import Progress
from llmatrix.engines.tekton.reading import (
    Cause,
    LaneRun,
    Phase,
    TrialState,
    called_off,
    ended,
    read_lane,
    why,
)
from llmatrix.engines.tekton.rights import check_rights
from llmatrix.engines.tekton.settings import COMBINATIONS, Settings, resolved
from llmatrix.engines.tekton.sites import Say
from llmatrix.engines.tekton.submit import check_namespace, live_runs, submit
from llmatrix.errors import (
    Cancelled,
    Detached,
    EnvironmentFault,
    FailureClass,
    StoreFault,
)
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.results.claim import ClaimStore, default_image
from llmatrix.results.record import Attempt, Failure
from llmatrix.results.records import write_failure
from llmatrix.results.store import Store
from llmatrix.steps.events import Warned, Watch

_ROUNDS: Final = 3
"""Submissions of what is missing: the first, and two more for what was lost."""
_WAKE_S: Final = 0.5
_SETTLE_S: Final = 2.0
_STORE_S: Final = 120.0
"""How long a store that is away at the end is waited for."""
_AGAIN_S: Final = 5.0
"""After the last PipelineRun ended, its last TaskRuns may still be told."""


@dataclass(frozen=True, slots=True)
class Target:
    """A plan on a cluster."""

    cluster: Cluster
    plan: Plan
    settings: Settings

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.plan.experiment.name


class TektonEngine:
    """Runs a plan on the cluster that the kubeconfig names."""

    name: ClassVar[str] = "tekton"

    def bring(self, plan: Plan, store: Store, done: AbstractSet[str], *, tell: Watch) -> int:
        with Cluster.connect() as cluster:
            return earlier.bring(cluster, plan, store, done, tell=tell)

    def run(
        self, plan: Plan, store: Store, orders: Orders, *, tell: Watch, stop: threading.Event
    ) -> None:
        with Cluster.connect() as cluster:
            target = aim(cluster, plan)
            source = _source(target)
            collector = Collector(store, source)
            try:
                _Run(target, collector, orders, tell, stop).carry_out()
            finally:
                collector.close()


def aim(cluster: Cluster, plan: Plan) -> Target:
    """Settle where a plan runs on a cluster, and make sure that it can.

    Raises:
        UserError: the plan cannot be run on a cluster.
        EnvironmentFault: the cluster is not fit, or we have no right to use it.
    """
    tekton = facts.tekton(cluster)
    settings = resolved(
        plan,
        namespace=cluster.namespace,
        image=default_image(),
        combinations=COMBINATIONS if tekton is None else tekton.combinations,
        openshift=users.chosen_by(cluster),
    )
    check_namespace(cluster, settings.namespace)
    check_rights(cluster, settings)
    gateways.check(cluster, plan)
    return Target(cluster, plan, settings)


def start(target: Target, trials: list[Trial], *, say: Say) -> int:
    """Submit trials, on sites of their own, once what was kept is gone; give how many PipelineRuns.

    A submission that was cut short is gone on with: the same trials, while the same PipelineRuns
    have ended, are the same submission, and what it made is adopted.

    Raises:
        UserError: the plan asks for what a cluster cannot do.
        ClusterFault: the cluster refused something.
    """
    end_kept(target.cluster, target.settings.namespace, target.experiment, say)
    wanted = {trial.id for trial in trials}
    before = [each["metadata"]["name"] for each in pipeline_runs(target) if ended(each)]
    made = compiled(
        target.plan,
        target.settings,
        now=time.time(),
        finished={trial.id for trial in target.plan} - wanted,
        again=short_hash(*sorted(before)) if before else "",
    )
    submit(target.cluster, made)
    return sum(len(lane) for lane in made.pipelineruns)


def pipeline_runs(target: Target) -> list[Object]:
    """Give the experiment's PipelineRuns, those that have ended too."""
    return target.cluster.find(
        PIPELINE_RUN, target.settings.namespace, of_experiment(target.experiment)
    )


def under_way(target: Target) -> int:
    """Count the experiment's PipelineRuns that have not ended."""
    return len(live_runs(target.cluster, target.settings.namespace, target.experiment))


def _source(target: Target) -> ClaimStore | None:
    claim = target.settings.claim
    if claim is None:
        return None
    return ClaimStore(target.cluster, target.settings.namespace, claim.name)


@dataclass(slots=True)
class _Run:
    """One attached run: rounds of submitting and following until nothing is missing."""

    target: Target
    collector: Collector
    orders: Orders
    tell: Watch
    stop: threading.Event
    progress: Progress = field(init=False)
    lanes: dict[str, LaneRun] = field(default_factory=dict)
    away_since: float | None = None
    followed: set[str] = field(default_factory=set)
    cancelled: bool = False

    def carry_out(self) -> None:
        target = self.target
        finished = self.orders.finished
        trials = {trial.id: trial for trial in target.plan if trial.id not in finished}
        self.progress = Progress(trials, self.tell, own_lanes=not target.settings.fresh)
        for turn in range(_ROUNDS):
            namespace, experiment = target.settings.namespace, target.experiment
            live = live_runs(target.cluster, namespace, experiment)
            if live:
                self.tell(
                    Warned(
                        f"{len(live)} PipelineRuns of this experiment are under way in namespace "
                        f"{namespace}; following them first."
                    )
                )
                self._follow({each["metadata"]["name"] for each in live})
            missing = self._missing()
            if not missing:
                break
            if turn and self._hopeless(missing):
                break
            before = {each["metadata"]["name"] for each in pipeline_runs(target)}
            start(target, missing, say=lambda text: self.tell(Warned(text)))
            started = {each["metadata"]["name"] for each in pipeline_runs(target)} - before
            self._follow(started)
        self._give_up_on(self._missing())
        self.collector.close()  # a claim stays as long as a pod uses it
        leave(
            target.cluster,
            target.settings,
            target.experiment,
            self.tell,
            keep=self.orders.keep,
        )

    def _missing(self) -> list[Trial]:
        return [t for t in self.progress.trials.values() if t.id not in self.progress.ended]

    def _follow(self, names: set[str]) -> None:
        """Follow PipelineRuns until all have ended, and collect what their trials left.

        Raises:
            Detached: the user stopped us; they go on.
            Cancelled: somebody ended them; to begin anew is not for us to decide.
        """
        self.followed = names
        selection = of_experiment(self.target.experiment)
        namespace = self.target.settings.namespace
        wanted = [Wanted(kind, namespace, selection) for kind in (PIPELINE_RUN, TASK_RUN)]
        if self.orders.keep and not self.target.settings.fresh:
            self._keep(names)
        with following(self.target.cluster, *wanted) as changes:
            while not self._all_ended(names):
                if self.stop.is_set():
                    raise Detached("left; the run goes on in the cluster")
                try:
                    seen = changes.get(timeout=_WAKE_S)
                except queue.Empty:
                    continue
                self._take_in(seen)
            settled = time.monotonic() + _SETTLE_S
            while (left_s := settled - time.monotonic()) > 0:
                try:
                    self._take_in(changes.get(timeout=left_s))
                except queue.Empty:
                    break
        self._collect_all(names)
        if self.cancelled and self._missing():
            raise Cancelled("cancelled elsewhere")

    def _keep(self, names: set[str]) -> None:
        """Let the ends of these PipelineRuns leave their sites standing."""
        change = {"metadata": {"labels": {labels.KEEP: "true"}}}
        for name in sorted(names):
            self.target.cluster.merge(PIPELINE_RUN, name, self.target.settings.namespace, change)

    def _take_in(self, seen: Seen | Exception) -> None:
        if isinstance(seen, Exception):
            raise seen
        self._tell_away(seen)
        changed = [seen.objects[name] for name in seen.changed if name in seen.objects]
        if seen.wanted.kind is PIPELINE_RUN:
            self.lanes |= {each["metadata"]["name"]: read_lane(each) for each in changed}
            gone = [self.lanes.pop(name, None) for name in seen.changed - seen.objects.keys()]
            ended_early = [lane for lane in gone if lane and lane.phase is not Phase.ENDED]
            called = [lane for lane in self.lanes.values() if called_off(lane.document)]
            self.cancelled |= any(lane.name in self.followed for lane in [*ended_early, *called])
            return
        for trial_id in self.progress.see(changed):
            self._collect(self.progress.trials[trial_id], self._since(trial_id))

    def _tell_away(self, seen: Seen) -> None:
        if seen.away and self.away_since is None:
            self.away_since = time.monotonic()
            self.tell(Warned(f"{seen.away}; the run goes on there, trying again."))
        elif not seen.away and self.away_since is not None:
            away_s = time.monotonic() - self.away_since
            self.away_since = None
            self.tell(Warned(f"the cluster answers again, after {away_s:.0f} s."))

    def _all_ended(self, names: set[str]) -> bool:
        """Tell whether the PipelineRuns are over, or gone."""
        known = self.lanes.keys() & names
        return bool(self.lanes) and all(self.lanes[name].phase is Phase.ENDED for name in known)

    def _since(self, trial_id: str) -> float:
        state = self.progress.last_words(trial_id)
        return 0.0 if state is None or state.started_at is None else state.started_at

    def _collect(self, trial: Trial, since: float) -> None:
        """Collect what a trial left; if the store is away, that is told, and done at the end."""
        try:
            self._collect_now(trial, since)
        except StoreFault as fault:
            self.tell(Warned(f"{fault}; the run goes on, its records are looked for again."))

    def _collect_now(self, trial: Trial, since: float) -> None:
        result = self.collector.collect(trial, since=since)
        if result is not None:
            self.progress.end(trial.id, result)

    def _collect_all(self, names: set[str]) -> None:
        """Collect once more what ended in a second pass, or while nobody or no store was there.

        Raises:
            StoreFault: the store stays away.
        """
        begun = [lane.started_at for name, lane in self.lanes.items() if name in names]
        since = min((at for at in begun if at is not None), default=time.time())
        give_up = time.monotonic() + _STORE_S
        while True:
            try:
                for trial in self._missing():
                    self._collect_now(trial, since)
            except StoreFault as fault:
                if time.monotonic() > give_up or self.stop.wait(_AGAIN_S):
                    raise
                self.tell(Warned(f"{fault}; trying again."))
            else:
                return

    def _hopeless(self, missing: list[Trial]) -> bool:
        """Tell whether trying again cannot help: the image of the steps itself is the trouble.

        Raises:
            EnvironmentFault: no step could begin at all.
        """
        states = [self.progress.last_words(trial.id) for trial in missing]
        blocked = [s for s in states if s is not None and s.cause in {Cause.IMAGE, Cause.REFUSED}]
        if len(blocked) == len(self.progress.trials):
            raise EnvironmentFault(
                f"no trial could begin: {why(blocked[0])}; see: llmatrix doctor FILE"
            )
        return False

    def _give_up_on(self, missing: list[Trial]) -> None:
        """Keep as failures the trials that were lost every time, with what Tekton says of them."""
        for trial in missing:
            failure = lost(trial, self.progress.last_words(trial.id))
            write_failure(self.collector.store, failure)
            self.progress.end(trial.id, failure)


def lost(trial: Trial, state: TrialState | None) -> Failure:
    """Tell of a trial whose pods were lost again and again."""
    step = None if state is None else state.step
    names = set(Step)
    return Failure(
        trial=trial.id,
        experiment=trial.experiment,
        levels=dict(trial.levels),
        replicate=trial.replicate.document(),
        steps=[],
        attempts=[
            Attempt(
                step=Step(step.step) if step is not None and step.step in names else Step.NAMESPACE,
                failure=FailureClass.ENVIRONMENT.value,
                message=_words(state) or "its TaskRun left nothing",
                seconds=_seconds(state),
            )
        ],
        ended_at=time.time(),
    )


def _words(state: TrialState | None) -> str:
    """Say what is known of a TaskRun's end: steps may go on after one that failed."""
    if state is None:
        return ""
    return why(state) or (state.step.detail if state.step is not None else "")


def _seconds(state: TrialState | None) -> float:
    if state is None or state.started_at is None or state.ended_at is None:
        return 0.0
    return state.ended_at - state.started_at
