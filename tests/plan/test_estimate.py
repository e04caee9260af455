"""What a plan says that it will take, and budgets that refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.estimate import hold_to_budget
from llmatrix.plan.step import Step

MakePlan = Callable[..., Plan]
PICKERS = [f"router/{name}.yaml" for name in ("none", "prefix", "kv", "queue")]
SCHEDULING = {
    "stack.router.config": PICKERS,
    "workload.question_len": [1, 2],
    "workload.output_len": [1, 2],
}


def test_picker_configs_need_one_deployment_and_a_router_each(make_plan: MakePlan) -> None:
    transitions = make_plan(SCHEDULING).estimate.transitions
    assert transitions == {Step.NAMESPACE: 1, Step.ROUTER: 4, Step.SERVER: 1}


def test_fresh_isolation_deploys_every_trial(make_plan: MakePlan) -> None:
    estimate = make_plan(SCHEDULING, run={"isolation": "fresh"}).estimate
    assert estimate.deployments == 16
    assert estimate.transitions[Step.ROUTER] == 16


def test_an_endpoint_is_never_deployed(make_plan: MakePlan) -> None:
    plan = make_plan(stack={"kind": "endpoint", "url": "http://127.0.0.1:1"}, replicates=3)
    assert plan.estimate.transitions == {}
    assert plan.estimate.accelerator_hours == 0


def test_time_counts_windows_and_lanes_run_side_by_side(make_plan: MakePlan) -> None:
    matrix = {"workload.question_len": list(range(1, 9))}
    one = make_plan(matrix)
    four = make_plan(matrix, run={"parallelism": 4})
    assert one.estimate.seconds > 8 * 22
    assert one.estimate.seconds / 4 < four.estimate.seconds < one.estimate.seconds / 3
    assert four.estimate.deployments == 4
    assert sum(lane.window_s for lane in one.lane_estimates) == 8 * 20


def test_accelerator_hours_and_cost(make_plan: MakePlan) -> None:
    plan = make_plan(
        stack={"kind": "simulated", "replicas": 3, "tensor_parallel": 2},
        run={"price_per_accelerator_hour": 2.5},
    )
    hours = plan.estimate.seconds * 6 / 3600
    assert plan.estimate.accelerator_hours == pytest.approx(hours)
    assert plan.estimate.cost == pytest.approx(hours * 2.5)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ({"budget": {"time": "10s"}}, r"x\.yaml: the plan needs .*run\.budget\.time allows"),
        ({"budget": {"accelerator_hours": 0.001}}, "accelerator-hours, more than"),
        (
            {"budget": {"cost": 0.01}, "price_per_accelerator_hour": 100.0},
            r"more than run\.budget\.cost",
        ),
        ({"budget": {"cost": 1.0}}, r"needs run\.price_per_accelerator_hour"),
    ],
)
def test_a_budget_refuses(make_plan: MakePlan, run: dict[str, object], sentence: str) -> None:
    plan = make_plan(run=run)
    with pytest.raises(UserError, match=sentence):
        hold_to_budget(plan.estimate, plan.experiment.run.budget, "x.yaml")


def test_a_budget_that_is_enough_lets_pass(make_plan: MakePlan) -> None:
    plan = make_plan(run={"budget": {"time": "10m", "accelerator_hours": 9.0}})
    hold_to_budget(plan.estimate, plan.experiment.run.budget, "x.yaml")


def test_earlier_records_tell_how_long_steps_take(make_plan: MakePlan) -> None:
    assumed = make_plan(SCHEDULING)
    told = make_plan(SCHEDULING, step_seconds={"simulated": {Step.ROUTER: 10.5}})
    assert told.estimate.seconds == pytest.approx(assumed.estimate.seconds + 4 * 10)
