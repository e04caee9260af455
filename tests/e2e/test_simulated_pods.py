"""The stacks that stand on a cluster, held to what every stack must do, and to what only pods can.

Everything here is done by an account that has exactly the rights of ``stacks/site_rights.py``.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    NAMESPACE,
    POD,
    SERVICE,
    STATEFUL_SET,
    Object,
)
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import (
    kubernetes_namespace,
    kubernetes_objects,
    kubernetes_removal,
    registry,
    simulated_objects,
)
from llmatrix.stacks.http import ask
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.simulated_pods import SimulatedPods
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import OF_NAMESPACES, ON_SITE, SITE_ROLE
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
    "test_a_killed_server_is_noticed_and_repaired",
    "test_another_llmatrix_takes_over_and_removes",
    "test_applying_after_an_apply_that_was_killed_half_way",
    "test_applying_twice_leaves_one_of_each",
    "test_stopping_an_apply_leaves_no_server",
    "test_the_whole_life",
]
ACCOUNT = "steps"
ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted"}
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


def now() -> threading.Event:
    """Give an event that nobody sets."""
    return threading.Event()


@dataclass
class PodsRig(Rig):
    """Pods on a site of a cluster."""

    on: ClassVar[str] = "kubernetes"
    stack: Stack
    site: KubernetesSite
    section: dict[str, Any]
    stuck: dict[str, Any] | None
    clean: bool | None
    admin: Cluster
    role: str

    def pods(self) -> list[Object]:
        name = self.site.address.name
        return self.admin.find(POD, self.site.namespace, {labels.SITE: name})

    def running(self) -> set[tuple[str, str]]:
        return {
            (pod["metadata"]["labels"][labels.STEP], pod["metadata"]["uid"])
            for pod in self.pods()
            if "deletionTimestamp" not in pod["metadata"]
        }

    def recorded(self) -> int:
        state = self.site.state()
        return sum(len(state.standing(step)) for step in (Step.ROUTER, Step.SERVER))

    def kill_a_server(self) -> None:
        self.delete_pod(Step.SERVER)

    def delete_pod(self, step: Step) -> None:
        found = [p for p in self.pods() if p["metadata"]["labels"][labels.STEP] == step]
        self.admin.delete(POD, found[0]["metadata"]["name"], self.site.namespace, grace_s=1)

    def site_in_another(self) -> str:
        address = dataclasses.asdict(self.site.address)
        folder = str(self.site.folder)
        return (
            f"KubernetesSite(Cluster.connect(), SiteAddress(**{address!r}), Path({folder!r}), "
            f"site_role={self.role!r})"
        )


@pytest.fixture(autouse=True)
def admin(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An administrator of the cluster."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubectl.kubeconfig))
    with Cluster.connect() as connected:
        yield connected


@pytest.fixture
def home(make_namespace: Callable[..., Any]) -> str:
    """A namespace in which only what is restricted may run, with an account of no rights yet."""
    namespace = make_namespace(ENFORCED)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
    namespace.apply(account)
    return str(namespace.name)


@pytest.fixture
def role(home: str) -> str:
    """What the ClusterRole of a site is called here: its own, so that tests do not meet."""
    return f"{SITE_ROLE}-{home}"


@pytest.fixture
def rights(admin: Cluster, home: str, role: str) -> Iterator[Callable[[bool], None]]:
    """Give the account exactly its rights: for sites with a namespace of their own, or not."""
    made: list[Object] = []

    def give(own: bool) -> None:  # noqa: FBT001
        subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}]
        group = CLUSTER_ROLE.group
        version = CLUSTER_ROLE.api_version

        def document(kind: str, name: str, **content: Any) -> Object:
            metadata = {"name": name} | ({"namespace": home} if kind.startswith("Role") else {})
            return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}

        if own:
            rules = orjson.loads(
                orjson.dumps(OF_NAMESPACES).replace(SITE_ROLE.encode(), role.encode())
            )
            reference = {"apiGroup": group, "kind": "ClusterRole", "name": f"{role}-namespaces"}
            made.extend(
                [
                    document("ClusterRole", role, rules=ON_SITE),
                    document("ClusterRole", f"{role}-namespaces", rules=rules),
                    document("ClusterRoleBinding", role, roleRef=reference, subjects=subjects),
                ]
            )
        else:
            reference = {"apiGroup": group, "kind": "Role", "name": "on-site"}
            made.extend(
                [
                    document("Role", "on-site", rules=ON_SITE),
                    document("RoleBinding", "on-site", roleRef=reference, subjects=subjects),
                ]
            )
        for each in made:
            admin.apply(each)

    yield give
    for kind in (CLUSTER_ROLE_BINDING, CLUSTER_ROLE):
        for each in made:
            if each["kind"] == kind.name:
                admin.delete(kind, each["metadata"]["name"])


@pytest.fixture
def account(
    cluster: Any, admin: Cluster, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """The cluster as the account sees it; other processes of the test see it so, too."""
    token = admin.call(
        "POST",
        f"/api/v1/namespaces/{home}/serviceaccounts/{ACCOUNT}/token",
        what="ask for a token",
        document={
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        },
    ).json()["status"]["token"]
    whole = cluster.kubectl.run("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    config = orjson.loads(whole)
    for user in config["users"]:
        user["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_bytes(orjson.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    with Cluster.connect() as connected:
        yield connected


@pytest.fixture
def make_site(
    account: Cluster, admin: Cluster, home: str, role: str, our_image: str, tmp_path: Path
) -> Iterator[Callable[..., KubernetesSite]]:
    """Make sites; whatever a test leaves on them is removed."""
    made: list[KubernetesSite] = []

    def make(own: bool, name: str | None = None, **more: Any) -> KubernetesSite:  # noqa: FBT001
        name = name or f"site-{secrets.token_hex(4)}"
        address = SiteAddress(
            name=name,
            namespace=name if own else home,
            own_namespace=own,
            experiment="Conformance of stacks!",
            run="a run",
            lane=0,
            expires=int(time.time()) + 3600,
            home=home,
            account=ACCOUNT,
            image=our_image,
            **more,
        )
        site = KubernetesSite(account, address, tmp_path / name, site_role=role)
        made.append(site)
        return site

    yield make
    for site in made:
        site.cluster = admin
        assert site.remove() == []


@pytest.fixture(params=[True, False], ids=["own-namespace", "namespaced"])
def own(request: pytest.FixtureRequest, rights: Callable[[bool], None]) -> bool:
    rights(request.param)
    return bool(request.param)


@pytest.fixture
def site(own: bool, make_site: Callable[..., KubernetesSite]) -> KubernetesSite:  # noqa: FBT001
    return make_site(own)


@pytest.fixture
def shared(
    rights: Callable[[bool], None], make_site: Callable[..., KubernetesSite]
) -> KubernetesSite:
    """A site in a namespace that it shares."""
    rights(False)
    return make_site(False)


@pytest.fixture
def apart(
    rights: Callable[[bool], None], make_site: Callable[..., KubernetesSite]
) -> KubernetesSite:
    """A site with a namespace of its own."""
    rights(True)
    return make_site(True)


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
    assert {kind.partition("-")[0] for kind in KINDS} == set(registry.KINDS["kubernetes"])


def test_pods_run_where_only_the_restricted_may(apart: KubernetesSite, admin: Cluster) -> None:
    """The shared site's namespace enforces it always; here the site's own is made to."""
    stack, trial = SimulatedPods(), make_trial(TWO | {"router": {"config": {"text": PICKER}}})
    stack.apply(Step.NAMESPACE, trial, apart, now())
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
    stack.apply(Step.ROUTER, trial, site, now())
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
    stack.apply(Step.SERVER, trial, shared, now())
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
    stack.apply(Step.ROUTER, plain, shared, now())
    assert admin.get(CONFIG_MAP, name, shared.namespace) is None
    complete(PodsRig(stack, shared, {"kind": "simulated"}, None, True, admin, ""))


def test_other_kinds_are_put_on_record_and_removed(
    shared: KubernetesSite, admin: Cluster, account: Cluster
) -> None:
    shared.prepare(now())
    shared.cluster = admin  # a stack that makes other kinds has other rights, too
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": shared.address.object_name("odd")},
    }
    kubernetes_objects.put(shared, Step.MODEL, [lease], now())
    assert [kind.name for kind in shared.state().kinds()] == ["Lease"]
    assert shared.clear() == []
    assert admin.find(admin.kind_of(lease), shared.namespace) == []
    del account


def test_a_namespace_that_is_not_ours_is_left_alone(
    apart: KubernetesSite, make_namespace: Callable[..., Any], admin: Cluster, role: str
) -> None:
    theirs = make_namespace({"team": "theirs"}).name
    address = dataclasses.replace(apart.address, name=theirs, namespace=theirs)
    site = KubernetesSite(apart.cluster, address, apart.folder, site_role=role)
    before = admin.get(NAMESPACE, theirs)
    with pytest.raises(StepFailure, match=f"{theirs} is there and is not of this site") as caught:
        site.prepare(now())
    assert caught.value.failure is FailureClass.USER
    assert site.claimed(Step.NAMESPACE) is None
    assert not site.stands()
    assert site.clear() == []
    assert site.remove() == []
    assert admin.get(NAMESPACE, theirs) == before


def test_a_namespace_of_another_site_of_ours_is_left_alone(
    apart: KubernetesSite, admin: Cluster, role: str
) -> None:
    apart.prepare(now())
    address = dataclasses.replace(apart.address, name="another")
    another = KubernetesSite(apart.cluster, address, apart.folder, site_role=role)
    with pytest.raises(StepFailure, match="not of this site"):
        another.prepare(now())
    assert another.remove() == []
    assert admin.get(NAMESPACE, apart.namespace) is not None


def test_a_namespace_on_its_way_out_is_waited_for(apart: KubernetesSite, admin: Cluster) -> None:
    apart.prepare(now())
    first = admin.get(NAMESPACE, apart.namespace)
    assert first is not None
    admin.delete(NAMESPACE, apart.namespace)
    assert not apart.stands()
    apart.prepare(now())
    second = admin.get(NAMESPACE, apart.namespace)
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert apart.stands()


def test_a_site_taken_over_is_given_a_later_end(apart: KubernetesSite, admin: Cluster) -> None:
    apart.prepare(now())
    apart.claim(Step.ROUTER, "kept")
    later = dataclasses.replace(apart.address, expires=apart.address.expires + 1000, run="second")
    apart.address = later
    apart.prepare(now())
    found = admin.get(NAMESPACE, apart.namespace)
    assert found is not None
    assert found["metadata"]["labels"].items() >= later.labels().items()
    assert apart.claimed(Step.ROUTER) == "kept"


def test_what_holds_a_namespace_is_told(
    apart: KubernetesSite, admin: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart.prepare(now())
    held = _held(apart, "held")
    admin.create(held)
    monkeypatch.setattr(kubernetes_namespace, "GOES_S", 12.0)
    (left,) = apart.remove()
    assert apart.namespace in left
    assert "llmatrix.dev/held" in left
    admin.merge(CONFIG_MAP, "held", apart.namespace, {"metadata": {"finalizers": None}})
    assert apart.remove() == []


def test_what_holds_an_object_is_told(
    shared: KubernetesSite, admin: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.prepare(now())
    admin.create(_held(shared, "held"))
    monkeypatch.setattr(kubernetes_removal, "GOES_S", 3.0)
    (left,) = shared.remove()
    assert f"ConfigMap {shared.namespace}/held (held by its finalizers: llmatrix.dev/held)" in left
    assert shared.stands()
    admin.merge(CONFIG_MAP, "held", shared.namespace, {"metadata": {"finalizers": None}})
    assert shared.remove() == []


def _held(site: KubernetesSite, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": site.namespace,
            "labels": site.labels(Step.MODEL),
            "finalizers": ["llmatrix.dev/held"],
        },
    }


def test_an_account_without_rights_is_told_which(
    make_site: Callable[..., KubernetesSite], admin: Cluster
) -> None:
    site = make_site(True)
    with pytest.raises(StepFailure, match='cannot get resource "namespaces"') as caught:
        site.prepare(now())
    assert caught.value.failure is FailureClass.USER
    site = make_site(False)
    with pytest.raises(StepFailure, match='cannot get resource "configmaps"') as caught:
        site.prepare(now())
    assert caught.value.failure is FailureClass.USER
    assert admin.find(CONFIG_MAP, site.namespace, {labels.SITE: None}) == []


def test_keys_outlive_the_process_and_what_was_measured_lives_with_its_files(
    site: KubernetesSite, role: str
) -> None:
    assert site.claimed(Step.SERVER) is None
    site.disclaim(Step.SERVER)
    with pytest.raises(StepFailure, match="is gone"):
        site.claim(Step.SERVER, "a")
    site.claim(Step.WORKLOAD, "w")  # an endpoint has no site of ours, yet it is measured
    site.prepare(now())
    site.claim(Step.SERVER, "a")
    site.claim(Step.ROUTER, "b")
    site.disclaim(Step.ROUTER)
    again = KubernetesSite(site.cluster, site.address, site.folder, site_role=role)
    assert again.claimed(Step.SERVER) == "a"
    assert again.claimed(Step.ROUTER) is None
    assert again.claimed(Step.WORKLOAD) == "w"
    elsewhere = KubernetesSite(site.cluster, site.address, site.folder / "x", site_role=role)
    assert elsewhere.claimed(Step.WORKLOAD) is None
    assert again.clear() == []
    assert again.claimed(Step.SERVER) is None
    assert again.claimed(Step.WORKLOAD) == "w"


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
    stack.apply(Step.NAMESPACE, trial, shared, now())
    with pytest.raises(StepFailure, match=says) as caught:
        stack.apply(Step.SERVER, trial, shared, now())
    assert caught.value.failure == (failure or "environment")
    assert shared.claimed(Step.SERVER) is None


def test_a_server_that_cannot_start_says_why(shared: KubernetesSite) -> None:
    stack, trial = SimulatedPods(), make_trial({"kind": "simulated"}, model="huge-400B")
    stack.apply(Step.NAMESPACE, trial, shared, now())
    with pytest.raises(StepFailure, match=r"container server ended with exit status \d") as caught:
        stack.apply(Step.SERVER, trial, shared, now())
    assert caught.value.failure is FailureClass.SERVER
    assert "huge-400B" in caught.value.log


def test_a_server_too_large_for_every_node_is_told(
    shared: KubernetesSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, trial = SimulatedPods(), make_trial({"kind": "simulated"})
    stack.apply(Step.NAMESPACE, trial, shared, now())
    monkeypatch.setattr(simulated_objects, "_SMALL", {"cpu": "1000"})
    with pytest.raises(StepFailure, match="it asks for cpu 1000") as caught:
        stack.apply(Step.SERVER, trial, shared, now())
    assert caught.value.failure is FailureClass.USER
