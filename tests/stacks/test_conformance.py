"""What every kind of stack must do, run over each of them with real servers.

A kind joins by an entry in ``CASES``: a fixture that gives a treatment which can be served here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmatrix.errors import StepFailure, Stopped
from llmatrix.plan.step import STACK_STEPS, Step
from llmatrix.plan.trial import Trial
from llmatrix.stacks import processes, registry
from llmatrix.stacks.http import ask
from llmatrix.stacks.local_site import LocalSite
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.waiting import until

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A kind of stack with a trial that it can serve here.

    Attributes:
        kind: as in the experiment file.
        section: the stack section of that trial.
        stuck: a section of the same kind whose server never becomes ready; None where the stack
            starts nothing.
        clean: what ``cleanse`` must find for a server that was not started for this trial.
    """

    kind: str
    section: dict[str, Any]
    stuck: dict[str, Any] | None
    clean: bool | None


def simulated() -> Case:
    section = {"kind": "simulated", "replicas": 2}
    stuck = {**section, "engine": {"startup": 600}}
    return Case("simulated", section, stuck, clean=True)


def process(llama_command: list[str]) -> Case:
    section = {"kind": "process", "command": llama_command, "args": {"parallel": 2}}
    stuck = {**section, "ready": {"path": "/never"}}
    return Case("process", section, stuck, clean=None)


@pytest.fixture
def served_elsewhere(
    llama_command: list[str],
    make_trial: Callable[..., Trial],
    converge: Callable[..., None],
    tmp_path: Path,
) -> Iterator[str]:
    """Serve the tiny model from another site, as somebody else would; give the URL."""
    stack, elsewhere = registry.stack("process"), LocalSite(tmp_path / "elsewhere")
    trial = make_trial({"kind": "process", "command": llama_command})
    converge(stack, trial, elsewhere)
    yield stack.target(trial, elsewhere).base_url
    assert stack.remove(elsewhere) == []


CASES = ("simulated", "endpoint", "process")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "simulated":
        return simulated()
    if request.param == "process":
        return process(request.getfixturevalue("llama_command"))
    section = {"kind": "endpoint", "url": request.getfixturevalue("served_elsewhere")}
    return Case("endpoint", section, stuck=None, clean=None)


@pytest.fixture
def stack(case: Case) -> Stack:
    return registry.stack(case.kind)


@pytest.fixture
def trial(case: Case, make_trial: Callable[..., Trial]) -> Trial:
    return make_trial(case.section)


def own_steps(trial: Trial) -> list[Step]:
    return [step for step in STACK_STEPS if step in trial.treatment.stack.LAYERS]


def running(site: LocalSite) -> list[processes.Identity]:
    return [one for one in processes.recorded(site.folder) if processes.alive(one)]


def complete(stack: Stack, trial: Trial, site: LocalSite) -> None:
    """Ask for a completion of token ids, as the harness does, and check that all tokens came."""
    target = stack.target(trial, site)
    request = {
        "model": target.model,
        "prompt": list(range(20, 60)),
        "max_tokens": 7,
        "ignore_eos": True,
    }
    answer = ask("POST", f"{target.base_url}/v1/completions", timeout_s=30, document=request)
    assert answer.status == 200, answer.body
    usage = answer.json()["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["prompt_tokens"] == 40


APPLY_IN_ANOTHER = textwrap.dedent("""
    import json, sys, threading, time
    from pathlib import Path
    from llmatrix.plan.step import STACK_STEPS
    from llmatrix.plan.trial import Replicate, Trial
    from llmatrix.spec.experiment import Treatment
    from llmatrix.stacks import registry
    from llmatrix.stacks.local_site import LocalSite

    treatment = Treatment.model_validate(json.loads(sys.argv[2]))
    keys = {step: f"k-{step}" for step in STACK_STEPS}
    trial = Trial("0" * 20, "conformance", {}, treatment, Replicate(), {}, keys, 1, 1.0)
    stack, site = registry.stack(treatment.stack.kind), LocalSite(Path(sys.argv[1]))
    for step in STACK_STEPS:
        if step in treatment.stack.LAYERS:
            stack.apply(step, trial, site, threading.Event())
            site.claim(step, trial.keys[step])
    print("applied", flush=True)
    time.sleep(600)
""")


def another_applies(
    section: dict[str, Any], trial: Trial, site: LocalSite
) -> subprocess.Popen[str]:
    document = {
        "model": trial.treatment.model.model_dump(mode="json"),
        "stack": section,
        "workload": trial.treatment.workload.model_dump(mode="json"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", APPLY_IN_ANOTHER, str(site.folder), json.dumps(document)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_every_kind_is_held_to_this_suite() -> None:
    assert set(CASES) == set(registry.ALL_KINDS)


def test_the_whole_life(
    stack: Stack, trial: Trial, site: LocalSite, case: Case, converge: Callable[..., None]
) -> None:
    stack.preflight(trial.treatment)
    converge(stack, trial, site)
    assert all(stack.healthy(step, trial, site) for step in own_steps(trial))
    complete(stack, trial, site)
    assert stack.restarts(trial, site) == 0
    assert stack.cleanse(trial, site, frozenset()).clean is case.clean
    hygiene = stack.cleanse(trial, site, frozenset(own_steps(trial)))
    assert hygiene.clean is (True if own_steps(trial) else None)
    assert hygiene.detail
    complete(stack, trial, site)
    logs = stack.logs(site)
    assert ("server.log" in logs) is bool(own_steps(trial))
    assert stack.remove(site) == []
    assert [site.claimed(step) for step in STACK_STEPS] == [None] * len(STACK_STEPS)
    assert processes.recorded(site.folder) == []
    assert stack.remove(site) == []


def test_applying_twice_leaves_one_of_each(
    stack: Stack, trial: Trial, site: LocalSite, converge: Callable[..., None]
) -> None:
    converge(stack, trial, site)
    first = running(site)
    converge(stack, trial, site)
    second = running(site)
    assert sorted(one.name for one in second) == sorted(one.name for one in first)
    assert len(processes.recorded(site.folder)) == len(second)
    complete(stack, trial, site)
    assert stack.remove(site) == []


def test_a_killed_server_is_noticed_and_repaired(
    stack: Stack, trial: Trial, site: LocalSite, converge: Callable[..., None]
) -> None:
    converge(stack, trial, site)
    if not own_steps(trial):
        pytest.skip("nothing of ours can be killed here")
    (server,) = processes.recorded(site.folder, "server")
    os.kill(server.pid, signal.SIGKILL)
    assert until(lambda: not stack.healthy(Step.SERVER, trial, site), 10.0)
    assert until(lambda: stack.restarts(trial, site) == 1, 10.0)
    with pytest.raises(StepFailure):
        stack.target(trial, site)
    assert stack.cleanse(trial, site, frozenset()).clean is not True
    stack.apply(Step.SERVER, trial, site, threading.Event())
    assert stack.healthy(Step.SERVER, trial, site)
    assert stack.restarts(trial, site) == 0
    complete(stack, trial, site)
    assert stack.remove(site) == []


def test_another_llmatrix_takes_over_and_removes(
    stack: Stack, trial: Trial, site: LocalSite, case: Case
) -> None:
    with another_applies(case.section, trial, site) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "applied\n"
        first.kill()
    assert all(stack.healthy(step, trial, site) for step in own_steps(trial))
    assert all(site.claimed(step) == trial.keys[step] for step in own_steps(trial))
    complete(stack, trial, site)
    standing = running(site)
    assert bool(standing) is bool(own_steps(trial))
    assert stack.remove(site) == []
    assert not any(processes.alive(one) for one in standing)


def test_applying_after_an_apply_that_was_killed_half_way(
    stack: Stack, trial: Trial, site: LocalSite, case: Case, converge: Callable[..., None]
) -> None:
    if case.stuck is None:
        pytest.skip("nothing of ours is applied here")
    with another_applies(case.stuck, trial, site) as first:
        assert until(lambda: processes.recorded(site.folder, "server"), 30.0)
        first.kill()
    (half_made,) = processes.recorded(site.folder, "server")
    assert site.claimed(Step.SERVER) is None
    converge(stack, trial, site)
    assert not processes.alive(half_made)
    assert len(processes.recorded(site.folder, "server")) == 1
    complete(stack, trial, site)
    assert stack.remove(site) == []


def test_stopping_an_apply_leaves_no_server(
    stack: Stack, site: LocalSite, case: Case, make_trial: Callable[..., Trial]
) -> None:
    if case.stuck is None:
        pytest.skip("nothing of ours is applied here")
    stuck, stop = make_trial(case.stuck), threading.Event()

    def stop_once_started() -> None:
        until(lambda: processes.recorded(site.folder, "server"), 30.0)
        stop.set()

    stopper = threading.Thread(target=stop_once_started)
    stopper.start()
    with pytest.raises(Stopped):
        stack.apply(Step.SERVER, stuck, site, stop)
    stopper.join()
    assert processes.recorded(site.folder) == []
