"""Combinations of levels: product, exclude, include, selection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmatrix.errors import UserError
from llmatrix.plan.build import Plan

QUESTION, OUTPUT = "workload.question_len", "workload.output_len"


def treatments(plan: Plan) -> list[dict[str, str]]:
    return sorted((dict(trial.levels) for trial in plan), key=str)


def test_no_matrix_is_one_treatment(make_plan: Callable[..., Plan]) -> None:
    assert treatments(make_plan()) == [{}]


def test_the_product_of_all_levels(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({QUESTION: [1, 2, 3], OUTPUT: [10, 20]})
    assert plan.treatments == len(plan) == 6
    assert len({trial.id for trial in plan}) == 6


def test_exclude_removes_every_combination_that_it_matches(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({QUESTION: [1, 2], OUTPUT: [10, 20], "exclude": [{QUESTION: 2, OUTPUT: 20}]})
    assert {QUESTION: "2", OUTPUT: "20"} not in treatments(plan)
    assert plan.treatments == 3


def test_include_extends_the_combinations_that_it_agrees_with(
    make_plan: Callable[..., Plan],
) -> None:
    plan = make_plan({QUESTION: [1, 2], "include": [{QUESTION: 2, OUTPUT: 99}]})
    assert treatments(plan) == [{QUESTION: "1"}, {QUESTION: "2", OUTPUT: "99"}]
    assert {t.treatment.workload.model_dump()["output_len"] for t in plan} == {10, 99}


def test_include_without_factors_extends_all(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({QUESTION: [1, 2], "include": [{OUTPUT: 99}]})
    assert {t.treatment.workload.model_dump()["output_len"] for t in plan} == {99}
    assert plan.treatments == 2


def test_include_that_would_overwrite_becomes_a_combination_of_its_own(
    make_plan: Callable[..., Plan],
) -> None:
    plan = make_plan({QUESTION: [1, 2], "include": [{QUESTION: 7, OUTPUT: 99}]})
    assert {QUESTION: "7", OUTPUT: "99"} in treatments(plan)
    assert plan.treatments == 3


def test_include_comes_after_exclude(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(
        {QUESTION: [1, 2], "exclude": [{QUESTION: 2}], "include": [{QUESTION: 2, OUTPUT: 5}]}
    )
    assert treatments(plan) == [{QUESTION: "1"}, {QUESTION: "2", OUTPUT: "5"}]


def test_only_include_entries(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({"include": [{QUESTION: 1}, {QUESTION: 2}]})
    assert treatments(plan) == [{QUESTION: "1"}, {QUESTION: "2"}]


def test_selection_by_label(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan({QUESTION: [1, 2, 3]}, only={QUESTION: frozenset({"1", "3"})})
    assert {t.levels[QUESTION] for t in plan} == {"1", "3"}


def test_selection_keeps_the_ids(make_plan: Callable[..., Plan]) -> None:
    whole = {t.levels[QUESTION]: t.id for t in make_plan({QUESTION: [1, 2, 3]})}
    (part,) = make_plan({QUESTION: [1, 2, 3]}, only={QUESTION: frozenset({"2"})})
    assert part.id == whole["2"]


def test_everything_excluded_is_refused(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match=r"experiment\.yaml:.*no treatment is left.*exclude"):
        make_plan({QUESTION: [1, 2], "exclude": [{QUESTION: 1}, {QUESTION: 2}]})


def test_two_treatments_that_are_the_same_are_refused(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match=r"two treatments are the same: .*question_len=7.*_len=10"):
        make_plan({QUESTION: [1, 2], "include": [{QUESTION: 7}, {QUESTION: 7, OUTPUT: 10}]})


def test_levels_that_do_not_go_together_are_refused_with_their_place(
    make_plan: Callable[..., Plan],
) -> None:
    kinds = [
        {"name": "sim", "value": {"kind": "simulated"}},
        {"name": "ep", "value": {"kind": "endpoint", "url": "http://127.0.0.1:1"}},
    ]
    with pytest.raises(UserError, match=r"experiment\.yaml:\d+.*replicas"):
        make_plan({"stack": kinds, "stack.replicas": [1, 2]})


def test_text_prompts_need_a_tokenizer(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match=r"prompt=text: text prompts .* need model\.tokenizer"):
        make_plan({"workload.prompt": ["token-ids", "text"]})


def test_chat_takes_text(make_plan: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match=r"workload\.api=chat: api: chat takes text"):
        make_plan({"workload.api": ["completions", "chat"]})
