"""The loop: least transition, retry, resume and run by the same code."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from llmatrix.errors import FailureClass, StepFailure, Stopped, StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.record import Failure, Outcome, Record
from llmatrix.results.records import finished, read_failure, read_record
from llmatrix.steps.converge import STEPS, converge
from llmatrix.steps.events import TrialEnded, TrialRetried, Warned

Bench = Any  # the fixture of conftest.py, which is no module that a test may import


def outcomes(record: Record | Failure) -> dict[Step, Outcome]:
    return {each.step: each.outcome for each in record.steps}


def measured(bench: Bench, number: int = 0, *, closes: bool = False, retries: int = 2) -> Record:
    result = converge(bench.run(number, closes=closes), retries=retries)
    assert isinstance(result, Record)
    return result


def failure(kind: FailureClass, message: str = "it broke") -> StepFailure:
    return StepFailure(message, kind, log="log tail")


def test_every_step_has_its_function() -> None:
    assert list(STEPS) == list(Step)


def test_a_first_trial_applies_what_the_stack_owns(bench: Bench) -> None:
    record = measured(bench)
    assert outcomes(record) == {
        Step.NAMESPACE: Outcome.APPLIED,
        Step.GATEWAY: Outcome.SKIPPED,
        Step.ROUTER: Outcome.APPLIED,
        Step.MODEL: Outcome.SKIPPED,
        Step.SERVER: Outcome.APPLIED,
        Step.WORKLOAD: Outcome.APPLIED,
        Step.UPLOAD: Outcome.APPLIED,
        Step.TEARDOWN: Outcome.SKIPPED,
    }
    assert all(each.key == bench.trials[0].keys[each.step] for each in record.steps)
    assert read_record(bench.store, "steps", record.trial) == record


def test_what_the_harness_counted_is_judged(bench: Bench) -> None:
    checks = {check.name: check for check in measured(bench).checks}
    assert checks["connections_opened"].figure == 0.0
    assert checks["loop_lag_ms_p99"].figure == 0.1
    assert checks["client_cpu"].figure == 0.2


def test_a_workload_factor_redeploys_nothing(bench: Bench) -> None:
    same = [n for n, t in enumerate(bench.trials) if t.levels["stack.replicas"] == "1"]
    for number in same:
        record = measured(bench, number)
    assert bench.applied()[Step.SERVER] == bench.applied()[Step.ROUTER] == 1
    assert outcomes(record)[Step.SERVER] is Outcome.UNCHANGED


def test_a_server_factor_remakes_only_the_servers(bench: Bench) -> None:
    for number in range(4):
        measured(bench, number)
    assert bench.applied() == {Step.NAMESPACE: 1, Step.ROUTER: 1, Step.SERVER: 2}


def test_caches_are_cleansed_with_what_was_applied_just_now(bench: Bench) -> None:
    for number in range(4):
        measured(bench, number)
    assert bench.stack.cleansed == [
        {Step.NAMESPACE, Step.ROUTER, Step.SERVER},
        set(),
        {Step.SERVER},
        set(),
    ]


def test_what_stands_but_is_broken_is_made_anew(bench: Bench) -> None:
    measured(bench)
    bench.stack.broken.add(Step.SERVER)
    record = measured(bench, 1)
    assert outcomes(record)[Step.SERVER] is Outcome.APPLIED
    assert outcomes(record)[Step.ROUTER] is Outcome.UNCHANGED


def test_a_failed_apply_leaves_no_key_and_is_repaired(bench: Bench) -> None:
    bench.stack.failures[Step.SERVER] = [failure(FailureClass.ENVIRONMENT)]
    record = measured(bench)
    assert [a.step for a in record.attempts] == [Step.SERVER]
    assert record.attempts[0].message == "it broke"
    assert outcomes(record)[Step.ROUTER] is Outcome.UNCHANGED
    assert any(isinstance(event, TrialRetried) for event in bench.events)


def test_a_server_failure_in_the_workload_remakes_the_servers(bench: Bench) -> None:
    bench.harness.failures = [failure(FailureClass.SERVER)]
    measured(bench)
    assert bench.applied()[Step.SERVER] == 2
    assert bench.applied()[Step.ROUTER] == 1


def test_a_server_that_ended_meanwhile_spoils_the_measurement(bench: Bench) -> None:
    bench.stack.ended_servers = [0, 1]
    record = measured(bench)
    assert bench.harness.runs == 2
    assert record.attempts[0].failure == FailureClass.SERVER
    assert "ran: pod s-0: killed for memory; its last lines" in record.attempts[0].message
    assert bench.applied()[Step.SERVER] == 2


def test_a_server_that_ends_in_the_last_try_leaves_an_invalid_record(bench: Bench) -> None:
    bench.stack.ended_servers = [0, 2]
    record = converge(bench.run(), retries=0)
    assert isinstance(record, Record)
    assert not record.valid
    (check,) = record.failed_checks
    assert (check.name, check.figure, check.limit) == ("server_restarts", 2.0, "0")
    assert "pod s-0: killed for memory" in check.advice


def test_a_server_of_which_nobody_can_say_how_it_ended_is_a_failure(bench: Bench) -> None:
    bench.stack.ended_servers, bench.stack.told_endings = [0, 1], []
    result = converge(bench.run(), retries=0)
    assert isinstance(result, Failure)
    assert result.attempts[0].message.startswith("a server ended while the workload ran; ")


def test_the_harness_is_given_the_files_where_they_are_here(bench: Bench) -> None:
    run = bench.run()

    def here(treatment: Any) -> Any:
        model = treatment.model.model_copy(update={"tokenizer": "words"})
        return treatment.model_copy(update={"model": model})

    run.files = here
    assert isinstance(converge(run, retries=0), Record)
    assert bench.harness.jobs[0].model.tokenizer == "words"
    assert run.trial.treatment.model.tokenizer is None


def test_files_that_cannot_be_had_fail_the_workload_before_it_begins(bench: Bench) -> None:
    run = bench.run()

    def gone(_: Any) -> Any:
        raise failure(FailureClass.USER, "ConfigMap b/x: it is not there; submit it again.")

    run.files = gone
    result = converge(run, retries=5)
    assert isinstance(result, Failure)
    assert [each.step for each in result.attempts] == [Step.WORKLOAD]
    assert "submit it again" in result.attempts[0].message
    assert bench.harness.runs == 0


def test_a_wrong_wish_fails_once_and_says_why(bench: Bench) -> None:
    bench.harness.failures = [failure(FailureClass.USER, "no such model")]
    result = converge(bench.run(), retries=5)
    assert isinstance(result, Failure)
    assert bench.harness.runs == 1
    kept = read_failure(bench.store, "steps", bench.trials[0].id)
    assert kept == result
    assert (kept.attempts[-1].message, kept.log) == ("no such model", "log tail")
    assert outcomes(kept)[Step.WORKLOAD] is Outcome.FAILED
    assert finished(bench.store, "steps") == set()


def test_a_trial_that_failed_for_good_is_replaced_by_its_record(bench: Bench) -> None:
    bench.harness.failures = [failure(FailureClass.USER)]
    converge(bench.run(), retries=0)
    record = measured(bench)
    assert finished(bench.store, "steps") == {record.trial}
    with pytest.raises(KeyError):
        read_failure(bench.store, "steps", record.trial)


def test_a_measurement_that_was_not_stored_is_uploaded_and_not_measured_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFault("the disk is full; free some space")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "put", full)
        with pytest.raises(StoreFault, match="disk is full"):
            converge(bench.run(closes=True), retries=1)
    assert bench.stack.removed == 0
    record = measured(bench)
    assert bench.harness.runs == 1
    assert outcomes(record)[Step.WORKLOAD] is Outcome.UNCHANGED
    assert [a.step for a in record.attempts] == []


def test_a_half_written_measurement_is_measured_again(bench: Bench) -> None:
    run = bench.run()
    bench.site.claim(Step.WORKLOAD, run.trial.id)
    folder = bench.site.folder / "outbox" / run.trial.id
    folder.mkdir(parents=True)
    (folder / "requests.parquet").write_bytes(b"torn")
    measured(bench)
    assert bench.harness.runs == 1


def test_closing_takes_down_and_the_record_says_so(bench: Bench) -> None:
    record = measured(bench, closes=True)
    assert bench.stack.removed == 1
    assert outcomes(record)[Step.TEARDOWN] is Outcome.APPLIED
    assert read_record(bench.store, "steps", record.trial) == record
    assert bench.site.keys == {}


def test_a_teardown_that_fails_is_told_and_loses_no_record(bench: Bench) -> None:
    bench.stack.left = [["process 12 (server)"]] * 3
    record = measured(bench, closes=True, retries=2)
    assert bench.stack.removed == 3
    assert outcomes(record)[Step.TEARDOWN] is Outcome.FAILED
    assert bench.applied()[Step.SERVER] == 1
    (warning,) = [event for event in bench.events if isinstance(event, Warned)]
    assert "process 12 (server)" in warning.message


def test_a_teardown_that_needs_two_tries(bench: Bench) -> None:
    bench.stack.left = [["process 12 (server)"]]
    record = measured(bench, closes=True)
    assert outcomes(record)[Step.TEARDOWN] is Outcome.APPLIED
    assert len(record.steps) == len(Step)


def test_a_site_of_another_kind_is_cleared_first(bench: Bench) -> None:
    bench.site.claim(Step.NAMESPACE, "somebody else's")
    measured(bench)
    assert bench.site.cleared == 1
    measured(bench, 1)
    assert bench.site.cleared == 1


def test_stopping_raises_and_records_nothing(bench: Bench) -> None:
    bench.stop.set()
    with pytest.raises(Stopped):
        converge(bench.run(), retries=3)
    assert finished(bench.store, "steps") == set()
    assert bench.applied() == {}


def test_the_record_carries_files_metrics_checks_and_seconds(bench: Bench) -> None:
    record = measured(bench)
    assert {"requests.parquet", "logs/server.log"} <= set(record.files)
    assert record.metrics["ttft_ms_p50"] == pytest.approx(50.0)
    assert {check.name for check in record.checks} > set()
    assert record.valid, record.failed_checks
    assert record.simulated
    assert all(each.seconds >= 0 for each in record.steps)
    assert record.document["workload"]["output_len"] in {5, 6}


def test_the_outbox_is_empty_after_the_upload(bench: Bench) -> None:
    measured(bench)
    assert list((bench.site.folder / "outbox").iterdir()) == []
    assert bench.site.claimed(Step.WORKLOAD) is None


def test_a_lost_working_folder_is_no_lost_record(bench: Bench) -> None:
    first = measured(bench)
    shutil.rmtree(bench.site.folder)
    bench.site.folder.mkdir()
    measured(bench, 1)
    assert read_record(bench.store, "steps", first.trial) == first


def test_the_end_of_a_trial_is_told(bench: Bench) -> None:
    record = measured(bench)
    (end,) = [event for event in bench.events if isinstance(event, TrialEnded)]
    assert end.result == record
