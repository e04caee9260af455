"""Sites on a real cluster for the tests, and the account that has exactly the rights for them.

Fixtures: a module of tests takes those that it needs by their names.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from llmatrix.cli.prepare import versions
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Object,
)
from llmatrix.harness.registry import harness
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Outcome, Record
from llmatrix.spec.load import load
from llmatrix.stacks import registry
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.protocol import Stack
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_rights import (
    MORE_ON_SITE,
    OF_NAMESPACES,
    ON_SITE,
    SITE_ROLE,
    in_cluster,
    role_of,
)
from llmatrix.steps.converge import converge
from llmatrix.steps.run import TrialRun
from stacks.conformance import Rig

ACCOUNT = "steps"
OF_SITES = (
    *(CONFIG_MAP, DEPLOYMENT, JOB, POD, ROLE, ROLE_BINDING, SECRET, SERVICE, SERVICE_ACCOUNT),
    STATEFUL_SET,
)
"""Kinds of what stands on a site."""
ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted"}


def nobody_stops() -> threading.Event:
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
def rights(
    admin: Cluster, home: str, role: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[bool], None]]:
    """Give the account exactly its rights: for sites with a namespace of their own, or not.

    A module whose stacks need more on a site than any says so: ``STACKS = ("llm-d",)``.
    """
    made: list[Object] = []
    kinds: tuple[str, ...] = getattr(request.module, "STACKS", ())

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
            rules += [rule for kind in kinds for rule in in_cluster(kind, role)]
            reference = {"apiGroup": group, "kind": "ClusterRole", "name": f"{role}-namespaces"}
            made.extend(
                [
                    document("ClusterRole", role, rules=ON_SITE),
                    *(
                        document("ClusterRole", role_of(kind, role), rules=MORE_ON_SITE[kind])
                        for kind in kinds
                    ),
                    document("ClusterRole", f"{role}-namespaces", rules=rules),
                    document("ClusterRoleBinding", role, roleRef=reference, subjects=subjects),
                ]
            )
        else:
            reference = {"apiGroup": group, "kind": "Role", "name": "on-site"}
            on_site = [*ON_SITE, *(rule for kind in kinds for rule in MORE_ON_SITE[kind])]
            made.extend(
                [
                    document("Role", "on-site", rules=on_site),
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


@pytest.fixture
def planned(tmp_path: Path) -> Callable[[dict[str, Any]], Plan]:
    """Write an experiment down and plan it."""

    def plan(document: dict[str, Any]) -> Plan:
        file = tmp_path / "e.yaml"
        file.write_bytes(orjson.dumps(document))
        return Plan(load(file), versions)

    return plan


@pytest.fixture
def carry(tmp_path: Path) -> Callable[..., list[Record]]:
    """Carry the trials of a plan of one lane through the steps on a site; each must be measured.

    ``carry(plan, site, after)``; ``after`` is called when a trial has ended.
    """
    store = FolderStore(tmp_path / "records")

    def through(
        plan: Plan, site: KubernetesSite, after: Callable[[], object] = lambda: None
    ) -> list[Record]:
        (lane,) = plan.lanes
        records = []
        for trial in map(plan.trial, lane.numbers()):
            run = TrialRun(
                trial=trial,
                site=site,
                stack=registry.stack(trial.treatment.stack.kind, on="kubernetes"),
                harness=harness(trial.treatment.workload.harness),
                store=store,
                stop=nobody_stops(),
                tell=lambda _: None,
                closes=False,
            )
            record = converge(run, retries=0)
            assert isinstance(record, Record), record
            records.append(record)
            after()
        return records

    return through


def applied(records: Sequence[Record]) -> Counter[Step]:
    """Count how often each step was applied."""
    outcomes = (each for record in records for each in record.steps)
    return Counter(each.step for each in outcomes if each.outcome is Outcome.APPLIED)


def judged(record: Record | dict[str, Any], *names: str) -> None:
    """Fail unless a record has requests that were answered, and passes these checks."""
    found = record.model_dump(mode="json") if isinstance(record, Record) else record
    assert (found["metrics"]["requests_completed"] or 0) > 20
    checks = {each["name"]: each for each in found["checks"]}
    for name in names:
        assert checks[name]["verdict"] == "pass", checks[name]


def removed(stack: Stack, site: KubernetesSite, admin: Cluster) -> None:
    """Remove a site; nothing with its label may be left of what such stacks make."""
    assert stack.remove(site) == []
    assert not site.stands()
    here = {labels.SITE: site.address.name}
    for kind in OF_SITES:
        left = [each["metadata"]["name"] for each in admin.find(kind, site.namespace, here)]
        assert left == [], kind.name
