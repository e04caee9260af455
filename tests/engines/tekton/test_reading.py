"""TaskRuns that Tekton 1.6 wrote on a real cluster (``task_runs.json``), read into states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatrix.engines.tekton.reading import (
    Cause,
    Phase,
    TrialState,
    read_lane,
    read_trial,
    why,
)

_FILE = Path(__file__).with_name("task_runs.json")
TASK_RUNS = {each["metadata"]["name"]: each for each in json.loads(_FILE.read_text("utf-8"))}


def read(name: str) -> TrialState:
    return read_trial(TASK_RUNS[name])


def test_a_trial_that_went_well() -> None:
    state = read("good")
    assert (state.trial, state.pod, state.phase, state.cause) == (
        "t1", "good-pod", Phase.ENDED, None,
    )  # fmt: skip
    assert state.told == {"status": "valid", "trial": "x"}
    assert [(s.step, s.phase, s.outcome, s.detail, s.exit_code) for s in state.steps] == [
        ("namespace", Phase.ENDED, "applied", "because applied", 0),
        ("server", Phase.ENDED, "failed", "because failed", 0),
        ("teardown", Phase.ENDED, "", "", 0),
    ]
    assert state.ended_at is not None
    assert state.started_at is not None
    assert state.ended_at - state.started_at == 14.0
    assert why(state) == ""
    assert state.step is None


def test_a_step_whose_failure_is_let_pass_keeps_its_exit_code_and_words() -> None:
    state = read("contfail")
    assert state.cause is None
    assert state.steps[1].exit_code == 3
    assert state.steps[1].outcome == "failed"
    assert state.steps[2].exit_code == 0


def test_only_the_first_step_that_has_not_ended_is_running() -> None:
    state = read("running")
    assert [step.phase for step in state.steps] == [Phase.ENDED, Phase.RUNNING, Phase.WAITING]
    assert state.phase is Phase.RUNNING
    assert state.step is not None
    assert state.step.step == "server"
    assert read("pending").phase is Phase.WAITING


@pytest.mark.parametrize(
    ("name", "cause", "told"),
    [
        ("hardfail", Cause.STEP, "namespace: ended with exit code 4"),
        ("steptimeout", Cause.TIMEOUT, "namespace: out of time ("),
        ("timeout", Cause.TIMEOUT, 'out of time (TaskRun "timeout" failed to finish within "5s")'),
        ("nosched", Cause.TIMEOUT, "out of time ("),
        ("nopull", Cause.IMAGE, "server: an image cannot be pulled (the step"),
        ("oom", Cause.MEMORY, "server: out of memory ("),
        ("deleted", Cause.POD_LOST, "server: the pod was lost ("),
        ("cancelled", Cause.CANCELLED, "server: cancelled ("),
        ("notask", Cause.REFUSED, "refused (error when listing tasks"),
    ],
)
def test_why_a_trial_did_not_end_well(name: str, cause: Cause, told: str) -> None:
    state = read(name)
    assert (state.phase, state.cause) == (Phase.ENDED, cause)
    assert why(state).startswith(told)


def test_steps_that_were_never_run_have_no_times() -> None:
    for name in ("hardfail", "steptimeout", "timeout", "nosched"):
        last = read(name).steps[-1]
        assert (last.phase, last.exit_code, last.started_at) == (Phase.WAITING, None, None)


def test_a_step_begins_when_the_one_before_it_ended() -> None:
    for document in TASK_RUNS.values():
        state = read_trial(document)
        for before, after in zip(state.steps, state.steps[1:], strict=False):
            if after.started_at is not None:
                assert before.ended_at is not None
                assert after.started_at >= before.ended_at


def test_a_task_run_that_tekton_has_not_seen_yet() -> None:
    state = read_trial({"metadata": {"name": "new", "labels": {"llmatrix.dev/trial": "abc"}}})
    assert (state.trial, state.phase, state.steps, state.pod) == ("abc", Phase.WAITING, (), "")


def test_tries_count_what_tekton_tried_again() -> None:
    document = TASK_RUNS["good"]
    again = {**document, "status": {**document["status"], "retriesStatus": [{}, {}]}}
    assert read_trial(again).tries == 3


def lane(spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "e-0",
            "labels": {"llmatrix.dev/lane": "2", "llmatrix.dev/expires": "17"},
        },
        "spec": spec,
        "status": status,
    }


def said(status: str, reason: str) -> list[dict[str, str]]:
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": "m"}]


@pytest.mark.parametrize(
    ("document", "phase", "cause"),
    [
        (lane({}), Phase.WAITING, None),
        (lane({"status": "PipelineRunPending"}), Phase.PENDING, None),
        (lane({}, startTime="2026-11-24T14:06:02Z"), Phase.RUNNING, None),
        (lane({}, conditions=said("True", "Completed")), Phase.ENDED, None),
        (lane({}, conditions=said("False", "Failed")), Phase.ENDED, Cause.STEP),
        (lane({}, conditions=said("False", "Cancelled")), Phase.ENDED, Cause.CANCELLED),
        (lane({}, conditions=said("False", "PipelineRunTimeout")), Phase.ENDED, Cause.TIMEOUT),
        (lane({}, conditions=said("False", "CouldntGetTask")), Phase.ENDED, Cause.REFUSED),
        (
            lane({"status": "PipelineRunPending"}, conditions=said("False", "Cancelled")),
            Phase.ENDED,
            Cause.CANCELLED,
        ),
    ],
)
def test_lanes(document: dict[str, Any], phase: Phase, cause: Cause | None) -> None:
    read = read_lane(document)
    assert (read.phase, read.cause, read.lane, read.expires) == (phase, cause, 2, 17)


@given(st.data())
def test_a_document_of_which_anything_is_not_there_yet_is_still_read(data: st.DataObject) -> None:
    """The controller writes a status piece by piece; no piece may be taken for granted."""
    document = data.draw(st.sampled_from(list(TASK_RUNS.values())))
    kept = data.draw(st.sets(st.sampled_from(sorted(document["status"]))))
    state = read_trial({**document, "status": {k: document["status"][k] for k in kept}})
    assert (state.phase is Phase.ENDED) == ("conditions" in kept and _over(document))
    running = [step for step in state.steps if step.phase is Phase.RUNNING]
    assert len(running) <= (state.phase is Phase.RUNNING)


def _over(document: dict[str, Any]) -> bool:
    return bool(document["status"]["conditions"][0]["status"] != "Unknown")
