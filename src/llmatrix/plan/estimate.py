"""What a plan will take, told before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llmatrix.errors import UserError
from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Budget
from llmatrix.spec.workloads import Workload

StepSeconds = Mapping[Step, float]

ASSUMED_STEP_S: Final[dict[str, dict[Step, float]]] = {
    "simulated": {Step.ROUTER: 0.5, Step.SERVER: 1.0},
    "process": {Step.SERVER: 90.0},
    "endpoint": {},
    "llm-d": {Step.GATEWAY: 10.0, Step.ROUTER: 10.0, Step.SERVER: 120.0},
}
"""Seconds of an applied step by kind of stack, until records of the experiment tell better."""

DRAIN_S: Final = 1.0
HANDLING_S: Final = 1.0
"""Starting the harness, judging and storing a trial."""


def workload_seconds(workload: Workload) -> float:
    """Expect how long a workload takes: warm-up, window, drain and its handling."""
    return workload.warmup + workload.duration + DRAIN_S + HANDLING_S


@dataclass(slots=True)
class LaneEstimate:
    """What one lane will take.

    Attributes:
        trials: on it.
        seconds: of wall time, transitions included.
        window_s: of that, seconds of measured windows.
        accelerator_s: seconds of wall time times the accelerators held meanwhile.
        download_s: of the wall time, seconds of models that come from the Hub.
        transitions: how often each step is applied.
    """

    trials: int = 0
    seconds: float = 0.0
    window_s: float = 0.0
    accelerator_s: float = 0.0
    download_s: float = 0.0
    transitions: dict[Step, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the whole plan will take; lanes run side by side.

    Attributes:
        seconds: of wall time, the longest lane's.
        accelerator_hours: held, by all lanes.
        cost: in the currency of the price, or None without one.
        deployments: model servers started.
        transitions: how often each step is applied.
        download_s: of the time, what models take that come from the Hub, in the lane of most.
        uncounted: repositories whose download is not in it: nobody says how much they are.
    """

    seconds: float
    accelerator_hours: float
    cost: float | None
    deployments: int
    transitions: dict[Step, int]
    download_s: float = 0.0
    uncounted: tuple[str, ...] = ()


def total(
    lanes: list[LaneEstimate],
    price_per_accelerator_hour: float | None,
    uncounted: Iterable[str] = (),
) -> Estimate:
    """Add the lanes up."""
    transitions: dict[Step, int] = {}
    for lane in lanes:
        for step, count in lane.transitions.items():
            transitions[step] = transitions.get(step, 0) + count
    hours = sum(lane.accelerator_s for lane in lanes) / 3600
    return Estimate(
        seconds=max((lane.seconds for lane in lanes), default=0.0),
        accelerator_hours=hours,
        cost=None if price_per_accelerator_hour is None else hours * price_per_accelerator_hour,
        deployments=transitions.get(Step.SERVER, 0),
        transitions=transitions,
        download_s=max((lane.download_s for lane in lanes), default=0.0),
        uncounted=tuple(sorted(uncounted)),
    )


def hold_to_budget(estimate: Estimate, budget: Budget, where: str) -> None:
    """Refuse a plan that goes beyond its budget.

    Raises:
        UserError: it does; the sentence says by how much and what to change.
    """
    needs = (
        ("run.budget.time", budget.time, estimate.seconds, "s"),
        (
            "run.budget.accelerator_hours",
            budget.accelerator_hours,
            estimate.accelerator_hours,
            " accelerator-hours",
        ),
        ("run.budget.cost", budget.cost, estimate.cost, ""),
    )
    for name, limit, need, unit in needs:
        if limit is None:
            continue
        if need is None:
            raise UserError(
                f"{where}: {name} needs run.price_per_accelerator_hour to be known; add it."
            )
        if need > limit:
            raise UserError(
                f"{where}: the plan needs {need:,.1f}{unit}, more than {name} allows "
                f"({limit:,.1f}{unit}). Select fewer trials with --only, shorten "
                f"workload.duration, or raise the budget."
            )
