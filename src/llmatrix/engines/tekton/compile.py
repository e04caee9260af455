"""A plan as objects of a cluster. The same plan, settings and moment give the same objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.cluster.naming import dns_name, short_hash
from llmatrix.engines.tekton import carried, units
from llmatrix.engines.tekton.claim import results_claim
from llmatrix.engines.tekton.factorial import Factorial, factorial
from llmatrix.engines.tekton.pipelineruns import LaneRun, Unit, pipeline_runs
from llmatrix.engines.tekton.refusals import hold
from llmatrix.engines.tekton.roles import account_and_roles
from llmatrix.engines.tekton.settings import Settings
from llmatrix.engines.tekton.stepactions import step_actions
from llmatrix.engines.tekton.task import closing_task, trial_task
from llmatrix.plan.build import Plan
from llmatrix.plan.digest import canonical
from llmatrix.plan.document import encode_trials
from llmatrix.plan.trial import Trial
from llmatrix.stacks.site_address import LONGEST_NAME, SiteAddress
from llmatrix.steps.lane_orders import LaneOrders

_TRIAL_PART: Final = 11
"""Characters that the name of a trial's own site adds to that of its lane."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """An experiment as objects.

    Attributes:
        run: names this submission: a hash of its trials, their order and its settings.
        settings: what it was compiled with.
        stepactions: the eight steps.
        tasks: the Task of a trial, and the one that closes a lane.
        account_and_roles: the account of the steps, and its rights.
        claim: for the records, where one is to be made.
        pipelineruns: of each lane, in their order; all but the first wait.
        carried: ConfigMaps with what its trials need besides their documents.
    """

    run: str
    settings: Settings
    stepactions: list[Object]
    tasks: list[Object]
    account_and_roles: list[Object]
    claim: Object | None
    pipelineruns: list[list[Object]]
    carried: list[Object]


def compiled(
    plan: Plan,
    settings: Settings,
    *,
    now: float,
    finished: AbstractSet[str] = frozenset(),
    again: str = "",
) -> Compiled:
    """Compile what is missing of a plan.

    Args:
        plan: what is to be run.
        settings: how.
        now: POSIX seconds, from which the expiry of what is made counts.
        finished: ids of trials that are not run.
        again: tells apart submissions that would otherwise be the same.

    Raises:
        UserError: it asks for what a cluster cannot do.
    """
    hold(plan)
    lanes = _lanes(plan, settings, finished)
    run = _run_id(lanes, settings, plan.experiment.name, again)
    expires = round(now + plan.estimate.seconds + settings.keeps_s)
    whole = _whole(lanes[0][1], settings) if settings.fresh and lanes else None
    actions = step_actions(settings)
    trial = trial_task(actions, settings, () if whole is None else whole.picks)
    close = closing_task(settings)
    pipelineruns = []
    for number, each in lanes:
        orders = _orders(plan, settings, run, number, expires)
        lane = LaneRun(orders, settings, close["metadata"]["name"])
        tasks = _units(each, settings, trial["metadata"]["name"], whole)
        pipelineruns.append(pipeline_runs(tasks, lane))
    return Compiled(
        run=run,
        settings=settings,
        stepactions=list(actions.values()),
        tasks=[trial, close],
        account_and_roles=account_and_roles(settings),
        claim=results_claim(settings, plan.experiment.name),
        pipelineruns=pipelineruns,
        carried=carried.config_maps(
            plan, (t for _, each in lanes for t in each), settings.namespace, expires
        ),
    )


def _whole(trials: Sequence[Trial], settings: Settings) -> Factorial | None:
    """Recognise trials that a native matrix of plain params can say, in one document."""
    found = factorial(trials, settings.combinations)
    if found is None or len(encode_trials(trials)) > units.LONGEST_DOCUMENT:
        return None
    return found


def _units(
    trials: Sequence[Trial], settings: Settings, task: str, whole: Factorial | None
) -> Iterator[Unit]:
    if not settings.fresh:
        yield from units.chain(trials, settings, task=task)
    elif whole is not None:
        yield units.whole_matrix(trials, whole, settings, task=task)
    else:
        yield from units.included_matrices(trials, settings, task=task)


def _lanes(
    plan: Plan, settings: Settings, finished: AbstractSet[str]
) -> list[tuple[int, list[Trial]]]:
    """Give the trials that are missing, by lane; where every trial has its own site, in one."""
    lanes = [
        (number, [t for t in map(plan.trial, lane.numbers()) if t.id not in finished])
        for number, lane in enumerate(plan.lanes)
    ]
    if settings.fresh:
        lanes = [(0, [trial for _, each in lanes for trial in each])]
    return [(number, each) for number, each in lanes if each]


def _run_id(
    lanes: Sequence[tuple[int, Sequence[Trial]]], settings: Settings, experiment: str, again: str
) -> str:
    """Name a submission by all that it is, but not by when it was made."""
    plain = dataclasses.asdict(settings)
    del plain["kinds"], plain["tokens"], plain["carries"]  # the trials say them
    plain["env"] = {
        name: value if isinstance(value, str) else value.model_dump()
        for name, value in settings.env.items()
    }
    trials = [part for number, each in lanes for part in (f"lane {number}", *(t.id for t in each))]
    return short_hash(experiment, again, canonical(plain), *trials)


def _orders(plan: Plan, settings: Settings, run: str, lane: int, expires: int) -> LaneOrders:
    experiment = plan.experiment.name
    if settings.fresh:
        name = dns_name("llmatrix", experiment, run, limit=LONGEST_NAME - _TRIAL_PART)
    else:
        name = dns_name("llmatrix", experiment, run, str(lane), limit=LONGEST_NAME)
    site = SiteAddress(
        name=name,
        namespace=settings.namespace if settings.namespaced else name,
        own_namespace=not settings.namespaced,
        experiment=experiment,
        run=run,
        lane=lane,
        expires=expires,
        home=settings.namespace,
        account=settings.account,
        image=settings.image,
        pull_policy=settings.pull_policy,
    )
    return LaneOrders(
        site=site,
        store=settings.store,
        retries=settings.retries,
        fresh=settings.fresh,
        slots=settings.parallelism if settings.fresh else 0,
    )
