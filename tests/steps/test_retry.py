"""Retries are decided by the class of the failure."""

from __future__ import annotations

import pytest

from llmatrix.errors import FailureClass
from llmatrix.plan.step import Step
from llmatrix.results.record import Attempt
from llmatrix.steps.retry import after

ENV, SERVER, WORKLOAD, USER = (
    FailureClass.ENVIRONMENT,
    FailureClass.SERVER,
    FailureClass.WORKLOAD,
    FailureClass.USER,
)


def attempts(*failures: FailureClass) -> list[Attempt]:
    return [
        Attempt(step=Step.WORKLOAD, failure=each.value, message="m", seconds=1) for each in failures
    ]


@pytest.mark.parametrize("failure", [ENV, SERVER, WORKLOAD])
def test_what_may_pass_is_tried_again(failure: FailureClass) -> None:
    assert after(attempts(failure), retries=2) is not None


def test_what_was_asked_wrongly_is_never_tried_again() -> None:
    assert after(attempts(USER), retries=5) is None


@pytest.mark.parametrize("failure", list(FailureClass))
@pytest.mark.parametrize("step", list(Step))
def test_no_retries_means_none(failure: FailureClass, step: Step) -> None:
    failed = Attempt(step=step, failure=failure.value, message="m", seconds=1)
    assert after([failed], retries=0) is None


@pytest.mark.parametrize("failure", list(FailureClass))
@pytest.mark.parametrize("step", list(Step))
def test_every_failure_comes_to_an_end(failure: FailureClass, step: Step) -> None:
    failed = Attempt(step=step, failure=failure.value, message="m", seconds=1)
    assert after([failed] * 20, retries=9) is None


def test_the_number_of_retries_is_kept() -> None:
    assert after(attempts(ENV, SERVER), retries=2) is not None
    assert after(attempts(ENV, SERVER, ENV), retries=2) is None


def test_a_broken_server_is_made_anew_and_only_the_server() -> None:
    retry = after(attempts(SERVER), retries=2)
    assert retry is not None
    assert retry.remake == (Step.SERVER,)
    other = after(attempts(ENV), retries=2)
    assert other is not None
    assert other.remake == ()


def test_pauses_grow_and_are_bounded() -> None:
    pauses = []
    for count in range(1, 12):
        retry = after(attempts(*[ENV] * count), retries=20)
        assert retry is not None
        pauses.append(retry.pause_s)
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == 60


def test_a_load_generator_that_broke_twice_is_not_asked_a_third_time() -> None:
    assert after(attempts(WORKLOAD), retries=9) is not None
    assert after(attempts(WORKLOAD, WORKLOAD), retries=9) is None


def test_a_store_that_is_away_is_waited_for_longer_and_costs_no_other_try() -> None:
    away = [Attempt(step=Step.UPLOAD, failure=ENV.value, message="m", seconds=1)] * 5
    waits = [after(away[:count], retries=1) for count in range(1, 6)]
    assert [wait.pause_s for wait in waits if wait is not None] == [1, 2, 4, 8, 16]
    assert after([*away, away[0]], retries=1) is None
    assert after([*away, *attempts(SERVER)], retries=1) is not None
    assert after([*away, *attempts(SERVER, SERVER)], retries=1) is None
