"""What every kind of stack must do, wherever it stands.

A place joins by a module of tests that gives a fixture ``rig`` and takes the functions below for
its own: ``tests/stacks/test_conformance.py`` for this machine, ``tests/e2e/test_simulated_pods.py``
for a cluster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pytest

from llmatrix.errors import StepFailure, Stopped
from llmatrix.plan.step import STACK_STEPS, Step
from llmatrix.plan.trial import Replicate, Trial
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks.http import ask
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.site import Site
from llmatrix.stacks.waiting import until

WORKLOAD = {"kind": "random", "question_len": 16, "output_len": 4, "load": {"concurrency": 1}}


def make_trial(stack: dict[str, Any], *, model: str = "tiny-1B", key: str = "k") -> Trial:
    """Make a trial of a stack section; its keys begin with ``key``."""
    document = {"model": {"name": model, "vocab_size": 512}, "stack": stack, "workload": WORKLOAD}
    return Trial(
        id="0" * 20,
        experiment="conformance",
        levels={},
        treatment=Treatment.model_validate(document),
        replicate=Replicate(),
        versions={},
        keys={step: f"{key}-{step}" for step in STACK_STEPS},
        traffic_seed=1,
        estimate_s=1.0,
    )


def own_steps(trial: Trial) -> list[Step]:
    """Give the steps that the trial's kind of stack does itself."""
    return [step for step in STACK_STEPS if step in trial.treatment.stack.LAYERS]


def converge(stack: Stack, trial: Trial, site: Site) -> None:
    """Apply every step of the stack as the loop does when nothing is claimed."""
    for step in own_steps(trial):
        site.disclaim(step)
        stack.apply(step, trial, site, threading.Event())
        site.claim(step, trial.keys[step])


class Rig(ABC):
    """A stack on a site, and what a test must know of the place that they are in.

    Attributes:
        section: of a trial that can be served there.
        stuck: section of one whose server never becomes ready; None where nothing is started.
        clean: what ``cleanse`` must find for a server that was not started for this trial.
        on: the place, as the registry names it.
    """

    on: ClassVar[str]
    stack: Stack
    site: Site
    section: dict[str, Any]
    stuck: dict[str, Any] | None
    clean: bool | None

    @property
    def trial(self) -> Trial:
        return make_trial(self.section)

    def up(self) -> None:
        converge(self.stack, self.trial, self.site)

    @abstractmethod
    def running(self) -> set[tuple[str, str]]:
        """Give what runs on the site: the step or name that it runs for, and who it is."""

    @abstractmethod
    def recorded(self) -> int:
        """Count what the site has on record as running."""

    @abstractmethod
    def kill_a_server(self) -> None: ...

    @abstractmethod
    def site_in_another(self) -> str:
        """Write the expression that makes this very site in another process."""


COMPLETION = {"prompt": list(range(20, 60)), "max_tokens": 7, "ignore_eos": True}


def complete(rig: Rig) -> None:
    """Ask for a completion of token ids, as the harness does, and check that all tokens came."""
    target = rig.stack.target(rig.trial, rig.site)
    request = {"model": target.model, **COMPLETION}
    answer = ask("POST", f"{target.base_url}/v1/completions", timeout_s=30, document=request)
    assert answer.status == 200, answer.body
    usage = answer.json()["usage"]
    assert usage["completion_tokens"] == 7
    assert usage["prompt_tokens"] == 40


APPLY_IN_ANOTHER = textwrap.dedent("""
    import json, os, sys, threading, time
    from pathlib import Path
    from llmatrix.cluster.api import Cluster
    from llmatrix.plan.step import STACK_STEPS
    from llmatrix.plan.trial import Replicate, Trial
    from llmatrix.spec.experiment import Treatment
    from llmatrix.stacks import registry
    from llmatrix.stacks.kubernetes_site import KubernetesSite
    from llmatrix.stacks.local_site import LocalSite
    from llmatrix.stacks.site_address import SiteAddress

    on, treatment = sys.argv[1], Treatment.model_validate(json.loads(sys.argv[2]))
    keys = {step: f"k-{step}" for step in STACK_STEPS}
    trial = Trial("0" * 20, "conformance", {}, treatment, Replicate(), {}, keys, 1, 1.0)
    stack, site = registry.stack(treatment.stack.kind, on=on), SITE
    for step in STACK_STEPS:
        if step in treatment.stack.LAYERS:
            stack.apply(step, trial, site, threading.Event())
            site.claim(step, trial.keys[step])
    print("applied", flush=True)
    time.sleep(600)
""")


def another_applies(rig: Rig, section: dict[str, Any]) -> subprocess.Popen[str]:
    """Have another llmatrix apply a stack on the site; it says so, and stays."""
    document = {
        "model": rig.trial.treatment.model.model_dump(mode="json"),
        "stack": section,
        "workload": rig.trial.treatment.workload.model_dump(mode="json"),
    }
    code = APPLY_IN_ANOTHER.replace("SITE", rig.site_in_another())
    return subprocess.Popen(
        [sys.executable, "-c", code, rig.on, json.dumps(document)],
        stdout=subprocess.PIPE,
        text=True,
    )


def names(running: set[tuple[str, str]]) -> list[str]:
    return sorted(name for name, _ in running)


def test_the_whole_life(rig: Rig) -> None:
    stack, trial, site = rig.stack, rig.trial, rig.site
    stack.preflight(trial.treatment)
    rig.up()
    assert all(stack.healthy(step, trial, site) for step in own_steps(trial))
    assert [site.claimed(step) for step in own_steps(trial)] == [
        trial.keys[step] for step in own_steps(trial)
    ]
    complete(rig)
    assert stack.restarts(trial, site) == 0
    assert stack.cleanse(trial, site, frozenset()).clean is rig.clean
    hygiene = stack.cleanse(trial, site, frozenset(own_steps(trial)))
    assert hygiene.clean is (True if own_steps(trial) else None)
    assert hygiene.detail
    complete(rig)
    logs = stack.logs(site)
    assert any(name.startswith("server") for name in logs) is bool(own_steps(trial))
    assert all(logs.values())
    assert stack.remove(site) == []
    assert [site.claimed(step) for step in STACK_STEPS] == [None] * len(STACK_STEPS)
    assert rig.running() == set()
    assert rig.recorded() == 0
    assert stack.remove(site) == []


def test_applying_twice_leaves_one_of_each(rig: Rig) -> None:
    rig.up()
    first = rig.running()
    rig.up()
    second = rig.running()
    assert names(second) == names(first)
    assert not first & second
    assert rig.recorded() == len(second)
    complete(rig)
    assert rig.stack.remove(rig.site) == []


def test_a_killed_server_is_noticed_and_repaired(rig: Rig) -> None:
    stack, trial, site = rig.stack, rig.trial, rig.site
    rig.up()
    if not own_steps(trial):
        pytest.skip("nothing of ours can be killed here")
    rig.kill_a_server()
    assert until(lambda: not stack.healthy(Step.SERVER, trial, site), 10.0)
    assert until(lambda: stack.restarts(trial, site) == 1, 10.0)
    with pytest.raises(StepFailure):
        stack.target(trial, site)
    assert stack.cleanse(trial, site, frozenset()).clean is not True
    stack.apply(Step.SERVER, trial, site, threading.Event())
    assert stack.healthy(Step.SERVER, trial, site)
    assert stack.restarts(trial, site) == 0
    complete(rig)
    assert stack.remove(site) == []


def test_another_llmatrix_takes_over_and_removes(rig: Rig) -> None:
    stack, trial, site = rig.stack, rig.trial, rig.site
    with another_applies(rig, rig.section) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "applied\n"
        first.kill()
    assert all(stack.healthy(step, trial, site) for step in own_steps(trial))
    assert all(site.claimed(step) == trial.keys[step] for step in own_steps(trial))
    complete(rig)
    standing = rig.running()
    assert bool(standing) is bool(own_steps(trial))
    assert stack.remove(site) == []
    assert not standing & rig.running()


def test_applying_after_an_apply_that_was_killed_half_way(rig: Rig) -> None:
    if rig.stuck is None:
        pytest.skip("nothing of ours is applied here")

    def servers() -> set[tuple[str, str]]:
        return {one for one in rig.running() if one[0] == "server"}

    with another_applies(rig, rig.stuck) as first:
        assert until(servers, 30.0)
        first.kill()
    half_made = servers()
    assert rig.site.claimed(Step.SERVER) is None
    rig.up()
    assert not half_made & rig.running()
    assert rig.recorded() == len(rig.running())
    complete(rig)
    assert rig.stack.remove(rig.site) == []


def test_stopping_an_apply_leaves_no_server(rig: Rig) -> None:
    if rig.stuck is None:
        pytest.skip("nothing of ours is applied here")
    stuck, stop = make_trial(rig.stuck), threading.Event()
    rig.stack.apply(Step.NAMESPACE, stuck, rig.site, threading.Event())

    def stop_once_started() -> None:
        until(rig.running, 30.0)
        stop.set()

    stopper = threading.Thread(target=stop_once_started)
    stopper.start()
    with pytest.raises(Stopped):
        rig.stack.apply(Step.SERVER, stuck, rig.site, stop)
    stopper.join()
    assert until(lambda: not rig.running(), 30.0)
    assert rig.recorded() == 0
    assert rig.stack.remove(rig.site) == []
