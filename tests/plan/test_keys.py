"""Keys: a change moves exactly the steps that depend on it; ids: only what is measured counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from llmatrix.plan.build import Plan
from llmatrix.plan.step import STACK_STEPS, Step
from llmatrix.plan.trial import Trial
from llmatrix.spec import stacks

MakePlan = Callable[..., Plan]
KINDS = get_args(get_args(stacks.Stack)[0])


def moved(plan: Plan) -> set[Step]:
    """Give the steps whose keys differ between the plan's two treatments."""
    one, other = plan
    return {step for step in STACK_STEPS if one.keys[step] != other.keys[step]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_stack_that_is_ours_belongs_to_one_step(kind: Any) -> None:
    if not kind.LAYERS:
        return
    named = [field for fields in kind.LAYERS.values() for field in fields]
    assert sorted(named) == sorted(set(kind.model_fields) - {"kind"})


@pytest.mark.parametrize(
    ("matrix", "steps"),
    [
        ({"workload.question_len": [1, 2]}, set()),
        ({"model.vocab_size": [100, 200]}, set()),
        ({"stack.router.config": ["router/kv.yaml", "router/queue.yaml"]}, {Step.ROUTER}),
        ({"stack.engine.max_num_seqs": [8, 16]}, {Step.SERVER}),
        ({"stack.replicas": [1, 2]}, {Step.SERVER}),
        ({"stack.prefill": [None, {"replicas": 1}]}, {Step.SERVER}),
        ({"stack.prefill.replicas": [1, 2]}, {Step.SERVER}),
        ({"stack.jitter": [0, 0.1]}, {Step.SERVER}),
        ({"stack.faults": [[], [{"kind": "slow", "factor": 2}]]}, {Step.SERVER}),
        ({"model.name": ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B"]}, {Step.MODEL, Step.SERVER}),
        (
            {
                "stack": [
                    {"kind": "simulated"},
                    {"kind": "process", "command": ["server"]},
                ]
            },
            set(STACK_STEPS),
        ),
    ],
)
def test_a_factor_moves_the_steps_that_depend_on_it(
    make_plan: MakePlan, matrix: Mapping[str, Any], steps: set[Step]
) -> None:
    assert moved(make_plan(matrix)) == steps


def test_repeated_deployments_make_the_servers_anew(make_plan: MakePlan) -> None:
    assert moved(make_plan(replicates={"deployments": 2})) == {Step.SERVER}


def test_repeated_workloads_move_nothing(make_plan: MakePlan) -> None:
    assert moved(make_plan(replicates=2)) == set()


def test_fresh_isolation_moves_everything(make_plan: MakePlan) -> None:
    assert moved(make_plan(replicates=2, run={"isolation": "fresh"})) == set(STACK_STEPS)


def only_trial(plan: Plan) -> Trial:
    (trial,) = plan
    return trial


def test_the_id_is_the_same_wherever_a_value_comes_from(
    make_plan: MakePlan, document: dict[str, Any]
) -> None:
    written = only_trial(make_plan())
    as_level = only_trial(make_plan({"workload.question_len": [100]}))
    document["workload"]["load"] = {"rate": "600/min", "arrivals": "poisson"}
    document["workload"]["drain"] = "1m"
    spelled_out = only_trial(make_plan())
    assert written.id == as_level.id == spelled_out.id


def test_fields_that_say_nothing_are_in_no_document_and_no_id(
    make_plan: MakePlan, document: dict[str, Any]
) -> None:
    """They came after records had been made: those of experiments without them are kept."""
    plain = only_trial(make_plan())
    dumped = plain.treatment.stack.model_dump(mode="json")
    assert sorted(dumped) == sorted(
        ["kind", "replicas", "accelerator", "tensor_parallel", "engine", "router", "image"]
    )
    document["stack"] |= {"prefill": None, "jitter": 0, "faults": []}
    assert only_trial(make_plan()).id == plain.id
    document["stack"] |= {"faults": [{"kind": "stall"}]}
    assert only_trial(make_plan()).id != plain.id


def test_the_id_does_not_know_labels_order_engine_or_store(make_plan: MakePlan) -> None:
    plain = only_trial(make_plan({"workload.question_len": [5]}))
    named = only_trial(
        make_plan(
            {"workload.question_len": [{"name": "tiny", "value": 5}]},
            run={"seed": 9, "parallelism": 3},
            results={"store": "elsewhere"},
        )
    )
    assert plain.id == named.id


def test_the_id_knows_what_measures(make_plan: MakePlan) -> None:
    newer = only_trial(make_plan(versions=lambda s, h: {"stack": s, "harness": f"{h}/2"}))
    assert newer.id != only_trial(make_plan()).id


def test_added_levels_and_replicates_keep_the_ids_of_what_was_there(make_plan: MakePlan) -> None:
    before = {t.id for t in make_plan({"workload.question_len": [5]}, replicates=2)}
    after = {
        t.id
        for t in make_plan(
            {"workload.question_len": [5, 6]}, replicates={"deployments": 2, "workloads": 3}
        )
    }
    assert before < after
    assert len(after) == 12


def test_traffic_is_common_to_stacks_and_differs_between_replicates(make_plan: MakePlan) -> None:
    plan = make_plan({"stack.replicas": [1, 2]}, replicates=2)
    seeds = {(t.levels["stack.replicas"], t.replicate.workload): t.traffic_seed for t in plan}
    assert seeds["1", 0] == seeds["2", 0]
    assert seeds["1", 0] != seeds["1", 1]


def test_a_tokenizer_is_known_by_its_content(make_plan: MakePlan, tmp_path: Path) -> None:
    def trial(folder: str, content: str) -> Trial:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "tokenizer.json").write_text(content)
        return only_trial(make_plan(model={"name": "m-1B", "tokenizer": folder}))

    one = trial("one", "{}")
    assert trial("two", "{}").id == one.id
    other = trial("one", '{"a": 1}')
    assert other.id != one.id
    assert other.keys[Step.SERVER] == one.keys[Step.SERVER]
