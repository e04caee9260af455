"""Control trials: at even intervals on every deployment, and in the way of nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.errors import SpecError
from llmatrix.plan.build import Plan
from llmatrix.plan.controls import interleave
from llmatrix.plan.document import decode_trials, encode_trials
from llmatrix.plan.order import Block
from llmatrix.plan.step import Step

MakePlan = Callable[..., Plan]
MATRIX = {
    "stack.replicas": [1, 2],
    "stack.router.config": ["router/none.yaml", "router/kv.yaml"],
    "workload.question_len": [100, 200, 300],
}
FIRST = 1000

blocks = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(
    lambda sizes: Block(
        "m", tuple(tuple(100 * front + n for n in range(size)) for front, size in enumerate(sizes))
    )
)


@given(blocks, st.integers(1, 12), st.integers(0, 4))
def test_one_comes_first_one_last_and_others_at_even_intervals(
    block: Block, every: int, front: int
) -> None:
    front %= len(block.trials)
    full = interleave(block, front=front, every=every, first=FIRST)
    order = list(full.flat())
    assert [number for number in order if number < FIRST] == list(block.flat())
    places = [place for place, number in enumerate(order) if number >= FIRST]
    assert [order[place] for place in places] == list(range(FIRST, FIRST + len(places)))
    assert (places[0], places[-1]) == (0, len(order) - 1)
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(places)]
    assert all(gap == every for gap in gaps[:-1])
    assert 0 < gaps[-1] <= every


@given(blocks, st.integers(1, 12))
def test_parts_are_still_of_one_front_each(block: Block, every: int) -> None:
    full = interleave(block, front=0, every=every, first=FIRST)
    fronts = [{0 if n >= FIRST else n // 100 for n in part} for part in full.trials]
    assert all(len(each) == 1 for each in fronts)
    assert all(one != other for one, other in itertools.pairwise(fronts))


def test_every_deployment_has_controls_of_its_own_first_treatment(make_plan: MakePlan) -> None:
    plan = make_plan(MATRIX, replicates=2, run={"control": {"every": 4}})
    trials = list(plan)
    assert len(trials) == len(plan) == 24 + plan.controls
    assert plan.controls == 2 * (1 + 3)
    assert len({trial.id for trial in trials}) == len(trials)
    controls = [trial for trial in trials if trial.replicate.control]
    assert {tuple(trial.levels.values()) for trial in controls} == {
        ("1", "none", "100"),
        ("2", "none", "100"),
    }
    for _, mine in itertools.groupby(controls, key=lambda trial: trial.keys[Step.SERVER]):
        assert [trial.replicate.control for trial in mine] == [1, 2, 3, 4]
    assert len({trial.traffic_seed for trial in controls}) == 4  # of both deployments the same
    assert not {t.traffic_seed for t in controls} & {
        t.traffic_seed for t in trials if not t.replicate.control
    }


def test_no_deployment_is_made_for_their_sake_and_no_other_trial_changes(
    make_plan: MakePlan,
) -> None:
    plain, full = make_plan(MATRIX), make_plan(MATRIX, run={"control": {"every": 3}})
    assert full.estimate.deployments == plain.estimate.deployments == 2
    assert full.estimate.seconds > plain.estimate.seconds
    without = [trial for trial in full if not trial.replicate.control]
    assert [trial.id for trial in without] == [trial.id for trial in plain]
    assert [trial.keys for trial in without] == [trial.keys for trial in plain]


def test_repeated_deployments_and_lanes_have_them_too(make_plan: MakePlan) -> None:
    run = {"control": {"every": 3}, "parallelism": 2}
    plan = make_plan(MATRIX, replicates={"deployments": 2, "workloads": 1}, run=run)
    assert sorted(n for lane in plan.lanes for n in lane.numbers()) == list(range(len(plan)))
    found = {(t.keys[Step.SERVER], t.replicate.deployment) for t in plan if t.replicate.control}
    assert len(found) == 4
    names = [trial.replicate.name for trial in plan if trial.replicate.control]
    assert {"1.c1", "2.c3"} <= set(names)


def test_on_fresh_sites_too_each_is_a_trial_of_its_own(make_plan: MakePlan) -> None:
    plan = make_plan(MATRIX, run={"control": {"every": 6}, "isolation": "fresh"})
    assert plan.controls == 4
    assert all(len(list(block.flat())) == 1 for lane in plan.lanes for block in lane.blocks)


def test_they_travel_as_documents(make_plan: MakePlan) -> None:
    trials = list(make_plan(MATRIX, run={"control": {"every": 6}}))
    assert [t.replicate for t in decode_trials(encode_trials(trials))] == [
        t.replicate for t in trials
    ]
    documents = [trial.replicate.document() for trial in trials]
    assert {"deployment": 0, "workload": 0} in documents
    assert {"deployment": 0, "workload": 0, "control": 2} in documents


def test_an_interval_of_no_trials_is_told(make_plan: MakePlan) -> None:
    with pytest.raises(SpecError, match=r"run\.control\.every"):
        make_plan(MATRIX, run={"control": {"every": 0}})
