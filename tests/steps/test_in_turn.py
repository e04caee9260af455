"""One step a process: what the steps hand on, and that it ends as the whole loop does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import FailureClass, StepFailure, StoreFault
from llmatrix.plan.step import Step
from llmatrix.results.record import Failure, Outcome, Record
from llmatrix.results.records import finished, read_failure, read_record
from llmatrix.steps import idle
from llmatrix.steps.converge import converge
from llmatrix.steps.in_turn import SoFar, foreseen, read_so_far, take_step, write_so_far

Bench = Any  # the fixture of conftest.py, which is no module that a test may import


def walk(bench: Bench, work: Path, *, retries: int = 2, closes: bool = False) -> list[Any]:
    """Take the eight steps as eight processes would: nothing but the folder goes on."""
    results = []
    for step in Step:
        so_far = read_so_far(work)
        results.append(take_step(step, bench.run(closes=closes), so_far, retries=retries))
        write_so_far(work, so_far)
    return results


def test_eight_processes_leave_the_record_that_one_would(bench: Bench, tmp_path: Path) -> None:
    walk(bench, tmp_path, closes=True)
    (trial,) = finished(bench.store, "steps")
    in_turn = read_record(bench.store, "steps", trial)
    bench.site.keys.clear()
    whole = converge(bench.run(closes=True), retries=2)
    assert isinstance(whole, Record)
    assert [(s.step, s.outcome, s.key) for s in in_turn.steps] == [
        (s.step, s.outcome, s.key) for s in whole.steps
    ]
    assert in_turn.metrics == whole.metrics
    assert in_turn.trial == whole.trial


def test_what_was_just_applied_is_told_to_the_cleansing(bench: Bench, tmp_path: Path) -> None:
    for process in ("one", "two"):
        (tmp_path / process).mkdir()
        walk(bench, tmp_path / process)
    assert bench.stack.cleansed == [{Step.NAMESPACE, Step.ROUTER, Step.SERVER}, set()]


def test_a_server_that_ends_meanwhile_is_made_anew_within_the_workload_step(
    bench: Bench, tmp_path: Path
) -> None:
    bench.stack.ended_servers = [0, 1]
    results = walk(bench, tmp_path)
    record = results[list(Step).index(Step.UPLOAD)][1]
    assert isinstance(record, Record)
    assert bench.applied()[Step.SERVER] == 2
    assert [(a.step, a.failure) for a in record.attempts] == [(Step.WORKLOAD, "server")]
    assert [s.step for s in record.steps] == list(Step)


def test_a_trial_that_fails_for_good_is_kept_and_the_later_steps_say_so(
    bench: Bench, tmp_path: Path
) -> None:
    bench.stack.failures = {Step.SERVER: [StepFailure("no such image", FailureClass.USER)]}
    results = walk(bench, tmp_path, closes=True)
    assert [ended.outcome for ended, _ in results] == [
        Outcome.APPLIED,
        Outcome.SKIPPED,
        Outcome.APPLIED,
        Outcome.SKIPPED,
        Outcome.FAILED,
        Outcome.SKIPPED,
        Outcome.SKIPPED,
        Outcome.APPLIED,
    ]
    assert "step server" in results[5][0].detail
    assert bench.harness.runs == 0
    after_upload, at_the_end = results[6][1], results[7][1]
    assert isinstance(after_upload, Failure)
    assert isinstance(at_the_end, Failure)
    assert at_the_end.attempts[-1].message == "no such image"
    assert read_failure(bench.store, "steps", at_the_end.trial) == at_the_end
    assert bench.stack.removed == 1


def test_a_store_that_fails_leaves_neither_record_nor_failure(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFault("the disk is full")

    for step in list(Step)[:6]:
        so_far = read_so_far(tmp_path)
        take_step(step, bench.run(), so_far, retries=1)
        write_so_far(tmp_path, so_far)
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.store), "put", full)
        with pytest.raises(StoreFault, match="disk is full"):
            take_step(Step.UPLOAD, bench.run(), read_so_far(tmp_path), retries=1)
    ended, result = take_step(Step.TEARDOWN, bench.run(), read_so_far(tmp_path), retries=1)
    assert (ended.outcome, result) == (Outcome.SKIPPED, None)
    assert finished(bench.store, "steps") == set()


def test_nothing_came_before_the_first_step(tmp_path: Path) -> None:
    assert read_so_far(tmp_path) == SoFar()


def test_what_stands_as_the_trial_wants_it_is_foreseen_up_to_the_first_change(
    bench: Bench, tmp_path: Path
) -> None:
    walk(bench, tmp_path)
    run = bench.run()
    take_step(Step.NAMESPACE, run, SoFar(), retries=0)
    idle_ones = foreseen(run)
    assert [(one.step, one.outcome) for one in idle_ones] == [
        (Step.GATEWAY, Outcome.SKIPPED),
        (Step.ROUTER, Outcome.UNCHANGED),
        (Step.MODEL, Outcome.SKIPPED),
        (Step.SERVER, Outcome.UNCHANGED),
        (Step.TEARDOWN, Outcome.SKIPPED),
    ]
    # A server may depend on the router, so it is not judged before that is as wanted.
    bench.site.keys[Step.ROUTER] = "another"
    steps = {one.step for one in foreseen(bench.run(closes=True))}
    assert steps == {Step.GATEWAY, Step.MODEL}


def test_what_cannot_be_asked_is_not_foreseen(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(bench, tmp_path)

    def silent(*_: object) -> bool:
        raise StepFailure("the cluster does not answer", FailureClass.ENVIRONMENT)

    monkeypatch.setattr(type(bench.stack), "healthy", silent)
    steps = {one.step for one in foreseen(bench.run())}
    assert steps == {Step.GATEWAY, Step.MODEL, Step.TEARDOWN}


def test_the_record_is_whole_after_the_upload_where_the_teardown_has_nothing_to_do(
    bench: Bench, tmp_path: Path
) -> None:
    results = walk(bench, tmp_path)
    uploaded, at_the_end = results[6][1], results[7][1]
    assert [s.step for s in uploaded.steps] == list(Step)
    assert uploaded.model_copy(update={"steps": []}) == at_the_end.model_copy(update={"steps": []})


def test_an_idle_step_is_taken_without_the_rest_of_the_program(
    bench: Bench, tmp_path: Path
) -> None:
    run = bench.run()
    take_step(Step.NAMESPACE, run, so_far := SoFar(), retries=0)
    write_so_far(tmp_path, so_far)
    idle_ones = foreseen(run)
    assert [one.step for one in idle_ones] == [Step.GATEWAY, Step.MODEL, Step.TEARDOWN]
    left = {
        one.step.value: {
            "outcome": one.model_dump(mode="json"),
            "results": {"outcome": "skipped", "detail": "nöne"},
            "line": f"{one.step} skipped",
        }
        for one in idle_ones
    }
    idle.leave(tmp_path, left)

    def process(step: str) -> subprocess.CompletedProcess[str]:
        words = ["step", step, "--work", str(tmp_path), "--told", str(tmp_path / "told")]
        imported = "import sys; m = set(sys.modules); print('click' in m, 'pydantic' in m)"
        code = f"import sys; from llmatrix.__main__ import main; main(); {imported}"
        return subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
        )

    taken = process("gateway")
    assert (taken.returncode, taken.stdout) == (0, "False False\n")
    assert taken.stderr == "gateway skipped\n"
    assert (tmp_path / "detail").read_text() == "nöne"
    assert read_so_far(tmp_path).outcomes == [*so_far.outcomes, idle_ones[0]]
    # What whole processes say of the step is the same, but for its seconds.
    ended, _ = take_step(Step.GATEWAY, bench.run(), so_far, retries=0)
    said, done = (one.model_copy(update={"seconds": 0.0}) for one in (idle_ones[0], ended))
    assert said == done


def test_an_idle_step_of_a_failed_trial_and_one_that_is_not_idle_are_not_taken(
    bench: Bench, tmp_path: Path
) -> None:
    run = bench.run()
    (idle_one, *_) = foreseen(run)
    said = {"outcome": idle_one.model_dump(mode="json"), "results": {}, "line": ""}
    assert not idle.take("gateway", tmp_path, tmp_path / "told")  # nothing was left
    idle.leave(tmp_path, {"gateway": said})
    assert not idle.take("gateway", tmp_path, tmp_path / "told")
    write_so_far(tmp_path, SoFar(failed=Step.NAMESPACE))
    assert not idle.take("gateway", tmp_path, tmp_path / "told")
    write_so_far(tmp_path, SoFar())
    assert not idle.take("server", tmp_path, tmp_path / "told")
    assert idle.take("gateway", tmp_path, tmp_path / "told")
