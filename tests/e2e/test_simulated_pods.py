"""The stacks that stand on a cluster, held to what every stack must do, and to what only pods can.

Everything here is done by an account that has exactly the rights of ``stacks/site_rights.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.sites import (
    ENFORCED,
    PodsRig,
    account,
    admin,
    apart,
    home,
    make_site,
    nobody_stops,
    own,
    rights,
    role,
    shared,
    site,
)
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SERVICE,
    STATEFUL_SET,
)
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import (
    registry,
    simulated_objects,
)
from llmatrix.stacks.http import ask
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.simulated_pods import SimulatedPods
from llmatrix.stacks.waiting import until
from stacks.conformance import (
    Rig,
    complete,
    converge,
    make_trial,
    test_a_killed_server_is_noticed_and_repaired,
    test_another_llmatrix_takes_over_and_removes,
    test_applying_after_an_apply_that_was_killed_half_way,
    test_applying_twice_leaves_one_of_each,
    test_stopping_an_apply_leaves_no_server,
    test_the_whole_life,
)

__all__ = [
    "account",
    "admin",
    "apart",
    "home",
    "make_site",
    "own",
    "rights",
    "role",
    "shared",
    "site",
    "test_a_killed_server_is_noticed_and_repaired",
    "test_another_llmatrix_takes_over_and_removes",
    "test_applying_after_an_apply_that_was_killed_half_way",
    "test_applying_twice_leaves_one_of_each",
    "test_stopping_an_apply_leaves_no_server",
    "test_the_whole_life",
]
PICKER = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
"""
TWO = {"kind": "simulated", "replicas": 2}


KINDS = ("simulated", "simulated-namespaced", "endpoint")


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, admin: Cluster, role: str) -> Iterator[Rig]:
    where = "apart" if request.param == "simulated" else "shared"
    site: KubernetesSite = request.getfixturevalue(where)
    stack = SimulatedPods()
    if request.param != "endpoint":
        stuck = TWO | {"engine": {"startup": 600}}
        yield PodsRig(stack, site, TWO, stuck, True, admin, role)
        return
    elsewhere: KubernetesSite = request.getfixturevalue("make_site")(False)
    trial = make_trial({"kind": "simulated"})
    converge(stack, trial, elsewhere)
    section = {"kind": "endpoint", "url": stack.target(trial, elsewhere).base_url}
    endpoint = registry.stack("endpoint", on="kubernetes")
    yield PodsRig(endpoint, site, section, None, None, admin, role)
    assert stack.remove(elsewhere) == []


def test_every_kind_is_held_to_the_suite() -> None:
    elsewhere = {"llm-d"}  # tests/e2e/test_llmd.py
    held = {kind.partition("-")[0] for kind in KINDS} | elsewhere
    assert held == set(registry.KINDS["kubernetes"])


def test_pods_run_where_only_the_restricted_may(apart: KubernetesSite, admin: Cluster) -> None:
    """The shared site's namespace enforces it always; here the site's own is made to."""
    stack, trial = SimulatedPods(), make_trial(TWO | {"router": {"config": {"text": PICKER}}})
    stack.apply(Step.NAMESPACE, trial, apart, nobody_stops())
    admin.merge(NAMESPACE, apart.namespace, None, {"metadata": {"labels": ENFORCED}})
    converge(stack, trial, apart)
    target = stack.target(trial, apart)
    assert target.simulated
    for url in (*target.metrics_urls, str(target.router_metrics_url)):
        assert ask("GET", url).status == 200


def test_everything_carries_the_labels_of_the_site_and_its_step(
    shared: KubernetesSite, admin: Cluster
) -> None:
    stack, trial = SimulatedPods(), make_trial(TWO | {"router": {"config": {"text": PICKER}}})
    converge(stack, trial, shared)
    here = {labels.SITE: shared.address.name}
    kinds = (CONFIG_MAP, DEPLOYMENT, POD, SERVICE, STATEFUL_SET)
    found = [each for kind in kinds for each in admin.find(kind, shared.namespace, here)]
    assert len(found) == 2 + 1 + 3 + 2 + 1
    for each in found:
        marks = each["metadata"]["labels"]
        assert marks.items() >= shared.address.labels().items()
        assert marks[labels.STEP] in {"namespace", "router", "server"}
        assert each["metadata"]["name"].startswith(shared.address.name)


def test_a_site_in_a_shared_namespace_leaves_what_is_not_its_own(
    shared: KubernetesSite, make_site: Callable[..., KubernetesSite], admin: Cluster
) -> None:
    other, stack, trial = make_site(False), SimulatedPods(), make_trial({"kind": "simulated"})
    converge(stack, trial, shared)
    converge(stack, trial, other)
    # As the pod of a TaskRun is: of the same run and site, but made by no step.
    marks = {labels.SITE: shared.address.name, labels.MANAGED_BY: labels.OURS}
    bystander = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "bystander", "namespace": shared.namespace, "labels": marks},
    }
    admin.create(bystander)
    assert stack.remove(shared) == []
    assert admin.get(CONFIG_MAP, "bystander", shared.namespace) is not None
    assert all(stack.healthy(step, trial, other) for step in (Step.ROUTER, Step.SERVER))
    complete(PodsRig(stack, other, {"kind": "simulated"}, None, True, admin, ""))


def test_a_deleted_router_is_noticed_and_repaired_without_its_servers(
    site: KubernetesSite, admin: Cluster, role: str
) -> None:
    stack, trial = SimulatedPods(), make_trial(TWO)
    rig = PodsRig(stack, site, TWO, None, True, admin, role)
    rig.up()
    servers = {one for one in rig.running() if one[0] == "server"}
    rig.delete_pod(Step.ROUTER)
    assert until(lambda: not stack.healthy(Step.ROUTER, trial, site), 20.0)
    assert until(lambda: stack.restarts(trial, site) == 1, 20.0)
    # The Deployment makes another by itself; that one knows no server, so it is none of ours.
    assert until(lambda: len({o for o in rig.running() if o[0] == "router"}) == 1, 30.0)
    assert not until(lambda: stack.healthy(Step.ROUTER, trial, site), 5.0, every_s=0.5)
    assert stack.healthy(Step.SERVER, trial, site)
    stack.apply(Step.ROUTER, trial, site, nobody_stops())
    assert stack.healthy(Step.ROUTER, trial, site)
    assert stack.restarts(trial, site) == 0
    assert {one for one in rig.running() if one[0] == "server"} == servers
    complete(rig)


def test_a_container_killed_in_its_pod_counts_as_a_restart(
    shared: KubernetesSite, admin: Cluster, role: str
) -> None:
    stack, trial = SimulatedPods(), make_trial(TWO)
    rig = PodsRig(stack, shared, TWO, None, True, admin, role)
    rig.up()
    victim = next(p for p in rig.pods() if p["metadata"]["labels"][labels.STEP] == "server")
    program = _program_of(victim["metadata"]["uid"])
    if program is None:
        pytest.skip("the pods of this cluster are not processes of this machine")
    os.kill(program, signal.SIGKILL)
    assert until(lambda: stack.restarts(trial, shared) == 1, 20.0)
    assert not stack.healthy(Step.SERVER, trial, shared)
    with pytest.raises(StepFailure, match=r"started again|not ready"):
        stack.target(trial, shared)
    former = until(lambda: "serving tiny-1B" in stack.logs(shared)["server-0.log"], 10.0)
    assert former
    assert stack.restarts(trial, shared) == 1
    stack.apply(Step.SERVER, trial, shared, nobody_stops())
    assert stack.restarts(trial, shared) == 0
    complete(rig)


def _program_of(uid: str) -> int | None:
    """Find the process of a pod's container on this machine by its control group."""
    for entry in Path("/proc").iterdir():
        try:
            ours = uid in (entry / "cgroup").read_text()
            serves = b"llmatrix.sim" in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if ours and serves:
            return int(entry.name)
    return None


def test_what_a_step_no_longer_wants_goes(shared: KubernetesSite, admin: Cluster) -> None:
    stack = SimulatedPods()
    picky = make_trial({"kind": "simulated", "router": {"config": {"text": PICKER}}})
    plain = make_trial({"kind": "simulated"})
    converge(stack, picky, shared)
    name = shared.address.object_name("router")
    assert admin.get(CONFIG_MAP, name, shared.namespace) is not None
    stack.apply(Step.ROUTER, plain, shared, nobody_stops())
    assert admin.get(CONFIG_MAP, name, shared.namespace) is None
    complete(PodsRig(stack, shared, {"kind": "simulated"}, None, True, admin, ""))


@pytest.mark.parametrize(
    ("section", "says", "failure"),
    [
        ({"image": "10.88.0.1:1/nothing:none"}, "10.88.0.1:1/nothing:none' cannot be pulled", None),
        ({"image": "nothing.invalid/x:y"}, "nothing.invalid/x:y' cannot be pulled", "user"),
        ({"image": "UPPER/Case:x"}, "no valid name", "user"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_told_at_once(
    shared: KubernetesSite, section: dict[str, Any], says: str, failure: str | None
) -> None:
    stack, trial = SimulatedPods(), make_trial({"kind": "simulated", **section})
    stack.apply(Step.NAMESPACE, trial, shared, nobody_stops())
    with pytest.raises(StepFailure, match=says) as caught:
        stack.apply(Step.SERVER, trial, shared, nobody_stops())
    assert caught.value.failure == (failure or "environment")
    assert shared.claimed(Step.SERVER) is None


def test_a_server_that_cannot_start_says_why(shared: KubernetesSite) -> None:
    stack, trial = SimulatedPods(), make_trial({"kind": "simulated"}, model="huge-400B")
    stack.apply(Step.NAMESPACE, trial, shared, nobody_stops())
    with pytest.raises(StepFailure, match=r"container server ended with exit status \d") as caught:
        stack.apply(Step.SERVER, trial, shared, nobody_stops())
    assert caught.value.failure is FailureClass.SERVER
    assert "huge-400B" in caught.value.log


def test_a_server_too_large_for_every_node_is_told(
    shared: KubernetesSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, trial = SimulatedPods(), make_trial({"kind": "simulated"})
    stack.apply(Step.NAMESPACE, trial, shared, nobody_stops())
    monkeypatch.setattr(simulated_objects, "_SMALL", {"cpu": "1000"})
    with pytest.raises(
        StepFailure, match=r"it asks for cpu 1k; 0/\d+ nodes are available"
    ) as caught:
        stack.apply(Step.SERVER, trial, shared, nobody_stops())
    assert caught.value.failure is FailureClass.USER
