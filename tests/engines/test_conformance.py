"""What every engine must do, shown on a real stack with real traffic."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from llmatrix.errors import Stopped, UserError
from llmatrix.plan.step import Step
from llmatrix.results.record import Failure, Outcome, Record
from llmatrix.results.records import finished, read_record
from llmatrix.stacks.local_site import sites
from llmatrix.steps.events import Event, StepStarted, TrialEnded, TrialStarted

Lab = Any  # the fixture of conftest.py, which is no module that a test may import
TWO = {"workload.output_len": [4, 5]}


def applied(results: list[Record | Failure]) -> Counter[Step]:
    return Counter(
        each.step for result in results for each in result.steps if each.outcome is Outcome.APPLIED
    )


@pytest.mark.slow
def test_every_trial_leaves_a_record_and_nothing_stands(lab: Lab) -> None:
    plan = lab.plan(TWO, run={"retries": 0})
    results = lab.run(plan)
    assert {r.trial for r in results} == {t.id for t in plan} == finished(lab.store, "small")
    assert applied(results)[Step.SERVER] == 1
    # In a cluster the site outlives its last trial: the lane's last task takes it down.
    last = Outcome.SKIPPED if lab.goes_on else Outcome.APPLIED
    assert results[-1].steps[-1].outcome is last
    assert lab.standing() == []
    for result in results:
        assert isinstance(result, Record)
        assert result.simulated
        assert result.metrics["requests_completed"]
        assert read_record(lab.store, "small", result.trial) == result


@pytest.mark.slow
def test_what_has_a_record_is_not_run_again_and_an_amendment_runs_only_the_new(lab: Lab) -> None:
    lab.run(lab.plan(TWO))
    assert lab.run(lab.plan(TWO)) == []
    amended = lab.plan({"workload.output_len": [4, 5, 6]})
    (new,) = lab.run(amended)
    assert new.levels == {"workload.output_len": "6"}
    assert finished(lab.store, "small") == {t.id for t in amended}


@pytest.mark.slow
def test_lanes_run_side_by_side_on_sites_of_their_own(lab: Lab) -> None:
    plan = lab.plan({"workload.output_len": [4, 5, 6, 7]}, run={"parallelism": 2})
    results = lab.run(plan)
    assert {r.trial for r in results} == {t.id for t in plan}
    assert applied(results)[Step.SERVER] == 2
    started = [event for event in lab.events if isinstance(event, TrialStarted | TrialEnded)]
    assert {event.lane for event in started} == {0, 1}
    running = most = 0
    for event in started:
        running += 1 if isinstance(event, TrialStarted) else -1
        most = max(most, running)
    assert most == 2
    assert lab.standing() == []


@pytest.mark.slow
def test_fresh_isolation_makes_everything_for_each_trial(lab: Lab) -> None:
    results = lab.run(lab.plan(TWO, run={"isolation": "fresh"}))
    made = (Step.NAMESPACE, Step.ROUTER, Step.SERVER, Step.WORKLOAD, Step.UPLOAD, Step.TEARDOWN)
    assert applied(results) == dict.fromkeys(made, 2)


@pytest.mark.slow
def test_a_trial_that_fails_for_good_does_not_stop_its_lane(lab: Lab) -> None:
    plan = lab.plan(
        {
            "stack.engine.max_model_len": [
                {"name": "too short", "value": 2},
                {"name": "enough", "value": 100},
            ]
        }
    )
    results = lab.run(plan)
    assert len(results) == 2
    by_level = {r.levels["stack.engine.max_model_len"]: r for r in results}
    assert isinstance(by_level["enough"], Record)
    short = by_level["too short"]
    assert isinstance(short, Failure) or not short.valid
    assert lab.standing() == []


@pytest.mark.slow
def test_stopping_keeps_what_is_done_and_going_on_completes_it(lab: Lab) -> None:
    plan = lab.plan({"workload.output_len": [4, 5, 6]})

    def stop_in_second_workload(event: Event) -> None:
        ended = sum(isinstance(e, TrialEnded) for e in lab.events)
        if ended == 1 and isinstance(event, StepStarted) and event.step is Step.WORKLOAD:
            lab.stop.set()

    with pytest.raises(Stopped):
        lab.run(plan, on_event=stop_in_second_workload)
    assert len(finished(lab.store, "small")) == 1
    assert lab.goes_on or lab.standing() == []
    lab.stop.clear()
    assert len(lab.run(plan)) == 2
    assert finished(lab.store, "small") == {t.id for t in plan}
    assert lab.standing() == []


@pytest.mark.slow
def test_kept_stacks_stay_up_until_the_next_run_which_may_use_them(lab: Lab) -> None:
    lab.run(lab.plan({"workload.output_len": [4]}), keep=True)
    assert len(lab.standing()) == 1
    assert all(site.kept for site in sites())
    (result,) = lab.run(lab.plan({"workload.output_len": [5]}))
    assert isinstance(result, Record)
    if lab.engine_name == "local":  # elsewhere each run has sites of its own
        assert applied([result])[Step.SERVER] == 0
    assert lab.standing() == []


@pytest.mark.slow
def test_a_stack_of_another_kind_replaces_what_stands(lab: Lab) -> None:
    stacks = [
        {"name": "one", "value": {"kind": "simulated"}},
        {"name": "gone", "value": {"kind": "endpoint", "url": "http://127.0.0.1:9"}},
    ]
    results = lab.run(lab.plan({"stack": stacks}, run={"retries": 0}))
    by_level = {r.levels["stack"]: r for r in results}
    assert isinstance(by_level["one"], Record)
    assert isinstance(by_level["gone"], Failure)
    assert "127.0.0.1:9" in by_level["gone"].attempts[-1].message
    assert lab.standing() == []


def test_an_experiment_that_cannot_be_is_refused_before_anything_starts(lab: Lab) -> None:
    with pytest.raises(UserError):
        lab.plan({"workload.output_lenn": [1]})
    assert lab.standing() == []
