"""What a plan says that it will take, and budgets that refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmatrix.errors import UserError
from llmatrix.plan.build import Plan
from llmatrix.plan.estimate import hold_to_budget
from llmatrix.plan.step import Step

MakePlan = Callable[..., Plan]
TB = 1e12
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


def served(*, factor: bool = False, **files: object) -> dict[str, object]:
    """Describe an llm-d stack whose model comes from the Hub."""
    if not factor:
        files |= {"revision": "5f" * 20}
    return {
        "kind": "llm-d",
        "gateway": {"mode": "none"},
        "model": {"source": "huggingface", **files},
        "server": {"simulated": True, "replicas": 2},
    }


TWO = {"stack.model.revision": ["5f" * 20, "a0" * 20], "workload.output_len": [10, 11]}


def test_a_download_takes_its_size_at_a_rate_and_holds_no_accelerator(make_plan: MakePlan) -> None:
    without = make_plan(stack=served())
    plan = make_plan(stack=served(size="30G"))
    assert plan.estimate.download_s == 300
    assert plan.estimate.seconds == pytest.approx(without.estimate.seconds + 300)
    assert plan.estimate.accelerator_hours == pytest.approx(without.estimate.accelerator_hours)
    slow = make_plan(stack=served(size="30G"), run={"cluster": {"download_rate": "10MB/s"}})
    assert slow.estimate.download_s == 3000
    # How fast it comes is no part of what is measured.
    assert slow.trial(0).id == plan.trial(0).id


def test_a_download_of_a_size_that_nobody_says_is_not_counted_and_told(make_plan: MakePlan) -> None:
    plan = make_plan(stack=served())
    assert (plan.estimate.download_s, plan.estimate.uncounted) == (0, ("Qwen/Qwen3-0.6B",))
    assert make_plan(stack=served(size="50Gi")).estimate.uncounted == ()
    assert make_plan().estimate.uncounted == ()


def test_each_model_of_a_lane_comes_once_where_it_stays(make_plan: MakePlan) -> None:
    stack = served(factor=True, size="1T")
    each = TB / 100e6
    twice = {"deployments": 2, "workloads": 1}
    assert make_plan(TWO, stack=stack, replicates=twice).estimate.download_s == 2 * each
    fresh = {"isolation": "fresh"}
    assert make_plan(TWO, stack=stack, run=fresh).estimate.download_s == 4 * each
    kept = fresh | {"cluster": {"namespaced": True}}
    assert make_plan(TWO, stack=stack, run=kept).estimate.download_s == 2 * each


def test_servers_that_stand_meanwhile_are_paid_for(make_plan: MakePlan) -> None:
    one_node = make_plan(TWO, stack=served(factor=True, size="1T")).estimate
    many = served(factor=True, size="1T", access_mode="ReadWriteMany")
    more = make_plan(TWO, stack=many).estimate.accelerator_hours - one_node.accelerator_hours
    assert more == pytest.approx(2 * TB / 100e6 / 3600)


def test_what_earlier_downloads_took_is_believed(make_plan: MakePlan) -> None:
    told = {"llm-d": {Step.MODEL: 7.0}}
    plan = make_plan(stack=served(size="30G"), step_seconds=told)
    assert plan.estimate.download_s == 0
    without = make_plan(stack=served())
    assert plan.estimate.seconds == pytest.approx(without.estimate.seconds + 7)
