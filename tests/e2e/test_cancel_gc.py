"""Cancelling and collecting on a real cluster: nothing of ours is left, nothing else is touched.

The lanes are PipelineRuns with the labels and the shape of the engine's, whose one step waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Runs = Callable[..., Any]
DAY = 86400


def marks(experiment: str, run: str = "r1", *, expires: float = DAY) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "llmatrix",
        "llmatrix.dev/experiment": experiment,
        "llmatrix.dev/run": run,
        "llmatrix.dev/expires": str(int(time.time() + expires)),
    }


def lane(
    shell: str, name: str, labels: dict[str, str], *, seconds: int = 600, pending: bool = False
) -> dict[str, Any]:
    """Describe a PipelineRun of one trial that waits, and an end that tells that it came."""
    step = {"name": "workload", "image": shell, "command": ["sleep", str(seconds)]}
    end = {"name": "finish", "image": shell, "command": ["true"]}
    metadata = {"labels": {"llmatrix.dev/trial": f"{name}-trial"}}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, "labels": {**labels, "llmatrix.dev/lane": "0"}},
        "spec": {
            **({"status": "PipelineRunPending"} if pending else {}),
            "pipelineSpec": {
                "tasks": [{"name": "trial", "taskSpec": {"metadata": metadata, "steps": [step]}}],
                "finally": [{"name": "close", "taskSpec": {"steps": [end]}}],
            },
        },
    }


@pytest.fixture
def site(cluster: Any) -> Iterator[Callable[..., str]]:
    """Make namespaces as sites have them, of their own."""
    made: list[str] = []

    def make(home: Any, name: str, labels: dict[str, str]) -> str:
        full = f"{home.name}-{name}"
        own = {"llmatrix.dev/site": full, "llmatrix.dev/home": home.name}
        metadata = {"name": full, "labels": {"llmatrix.dev/e2e": "true", **own, **labels}}
        cluster.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        made.append(full)
        cluster.namespaces.append(full)
        return full

    yield make
    for name in made:
        cluster.kubectl.run("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def shared(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Describe an object of a site that is kept in the home namespace."""
    own = {"llmatrix.dev/site": name, "llmatrix.dev/step": "server"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-server", "labels": {**labels, **own}},
    }


def names(namespace: Any, kind: str, *words: str) -> set[str]:
    return {each["metadata"]["name"] for each in namespace.get(kind, *words)["items"]}


def standing(cluster: Any) -> set[str]:
    found = cluster.kubectl.get("namespaces", "-l", "llmatrix.dev/site")["items"]
    return {each["metadata"]["name"] for each in found}


def running(namespace: Any, name: str) -> None:
    """Wait until the trial of a lane works; the controller may take a while to see the lane."""
    namespace.until(
        lambda it: any(
            "running" in step
            for each in it["items"]
            for step in each.get("status", {}).get("steps", ())
        ),
        "taskruns",
        "-l",
        f"tekton.dev/pipelineRun={name},tekton.dev/pipelineTask=trial",
    )


def test_cancel_leaves_nothing_but_the_records(
    namespace: Any, cluster: Any, llmatrix: Runs, site: Callable[..., str]
) -> None:
    shell = cluster.shell
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kept", "labels": marks("e")},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    namespace.apply(
        claim,
        lane(shell, "e-0", marks("e")),
        lane(shell, "e-0-later", marks("e"), pending=True),
        lane(shell, "done", marks("e"), seconds=0),
        lane(shell, "other", marks("f", "r2")),
        shared("e-1", marks("e")),
        shared("f-1", marks("f", "r2")),
    )
    ours, theirs = site(namespace, "e-0", marks("e")), site(namespace, "f-0", marks("f", "r2"))
    running(namespace, "e-0")
    running(namespace, "other")
    namespace.run_ended("pipelinerun", "done")

    began = time.monotonic()
    said = llmatrix("cancel", "e", "--namespace", namespace.name)
    took_s = time.monotonic() - began
    assert said.code == 0, said.err
    assert "1 ended, 1 dropped, 2 removed" in said.out
    assert f"llmatrix pull pvc://{namespace.name}/kept FOLDER" in said.out
    print(f"cancelled in {took_s:.1f} s")  # noqa: T201 - shown with -s

    assert names(namespace, "pipelineruns") == {"other"}
    assert names(namespace, "taskruns") == {"other-trial"}
    assert {name for name in names(namespace, "pods") if name.startswith("e-0")} == set()
    assert names(namespace, "pvc") == {"kept"}
    assert "e-1-server" not in names(namespace, "configmaps")
    assert "f-1-server" in names(namespace, "configmaps")
    assert ours not in standing(cluster)
    assert theirs in standing(cluster)

    again = llmatrix("cancel", "e", "--namespace", namespace.name)
    assert again.code == 0, again.err
    assert f"e: nothing runs or stands in namespace {namespace.name}" in again.out


def test_cancel_lets_the_end_of_each_lane_run(namespace: Any, cluster: Any, llmatrix: Runs) -> None:
    namespace.apply(lane(cluster.shell, "e-0", marks("e")))
    running(namespace, "e-0")
    said = llmatrix("cancel", "e", "--namespace", namespace.name, "--keep-runs")
    assert said.code == 0, said.err
    run = namespace.get("pipelinerun", "e-0")
    assert run["status"]["conditions"][0]["reason"] == "Cancelled"
    close = namespace.get("taskrun", "e-0-close")
    assert close["status"]["conditions"][0]["status"] == "True"


def test_gc_takes_what_is_expired_or_orphaned_and_nothing_else(
    namespace: Any,
    make_namespace: Callable[..., Any],
    cluster: Any,
    llmatrix: Runs,
    site: Callable[..., str],
) -> None:
    shell, elsewhere = cluster.shell, make_namespace()
    namespace.apply(
        lane(shell, "going", marks("e")),
        lane(shell, "waits", marks("w", "r3"), pending=True),
        lane(shell, "late", marks("e", "r0", expires=-5)),
        lane(shell, "over", marks("o", "r4"), seconds=0),
        shared("lost-1", marks("lost", "r9")),
        shared("waits-1", marks("w", "r3")),
    )
    live = site(namespace, "live", marks("e"))
    orphan = site(namespace, "orphan", marks("lost", "r9"))
    expired = site(namespace, "expired", marks("e", "r0", expires=-5))
    foreign = site(elsewhere, "foreign", marks("lost", "r9"))
    not_ours = site(namespace, "bare", {})
    running(namespace, "going")
    running(namespace, "late")
    namespace.run_ended("pipelinerun", "over")

    def gc(*words: str) -> str:
        """Collect; of bindings, which are the whole cluster's, other tests may have left some."""
        said = llmatrix("gc", "--namespace", namespace.name, *words)
        assert said.code == 0, said.err
        lines = said.out.splitlines()
        return "\n".join(line for line in lines if "ClusterRoleBinding" not in line)

    dry = gc("--dry-run").splitlines()
    assert "would end PipelineRun late: it has expired" in dry
    assert sorted(line for line in dry if line.startswith("would remove")) == [
        "would remove PipelineRun late: it has expired",
        f"would remove site {expired}: it has expired",
        f"would remove site {orphan}: its run is over",
        "would remove site lost-1: its run is over",
    ]
    assert {live, orphan, expired, foreign, not_ours} <= standing(cluster)

    gc()
    assert standing(cluster) & {live, orphan, expired, foreign, not_ours} == {
        live,
        foreign,
        not_ours,
    }
    assert names(namespace, "pipelineruns") == {"going", "waits", "over"}
    left = names(namespace, "configmaps")
    assert "waits-1-server" in left
    assert "lost-1-server" not in left
    assert "removed" not in gc()

    said = gc("--experiment", "o")
    assert "removed PipelineRun over: it has ended" in said
    said = gc("--experiment", "e")
    assert "e: a run is going on; `llmatrix cancel e` ends it" in said
    assert names(namespace, "pipelineruns") == {"going", "waits"}


@pytest.fixture
def bound(cluster: Any) -> Iterator[Callable[[str], str]]:
    """Bind the account of the steps of a namespace in the cluster, as ``roles.yaml`` does."""
    made: list[str] = []

    def bind(home: str, *, ours: bool = True) -> str:
        api = "rbac.authorization.k8s.io"
        name = f"llmatrix-sites-{home}-{'llmatrix' if ours else 'not-ours'}"
        labels = {"app.kubernetes.io/managed-by": "llmatrix"} if ours else {}
        document = {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": labels},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "llmatrix-sites"},
            "subjects": [{"kind": "ServiceAccount", "name": "llmatrix", "namespace": home}],
        }
        cluster.kubectl.apply([document])
        made.append(name)
        return name

    yield bind
    for name in made:
        cluster.kubectl.run("delete", "clusterrolebinding", name, "--ignore-not-found")


def test_bindings_of_home_namespaces_that_are_gone_are_removed(
    namespace: Any,
    make_namespace: Callable[..., Any],
    cluster: Any,
    llmatrix: Runs,
    bound: Callable[..., str],
    account: Callable[..., Any],
) -> None:
    def bindings() -> set[str]:
        found = cluster.kubectl.get("clusterrolebindings")["items"]
        return {each["metadata"]["name"] for each in found}

    before = make_namespace()
    here, lost = bound(namespace.name), bound(before.name)
    not_ours = bound(before.name, ours=False)
    told = f"ClusterRoleBinding {lost}: its home namespace is gone"
    standing = llmatrix("gc", "--namespace", namespace.name)
    assert standing.code == 0, standing.err
    assert {here, lost, not_ours} <= bindings()
    cluster.kubectl.run("delete", "namespace", before.name)

    looks = [
        {"apiGroups": ["tekton.dev"], "resources": ["*"], "verbs": ["list"]},
        {"apiGroups": ["", "apps", "batch", "coordination.k8s.io"], "resources": ["*"],
         "verbs": ["list"]},
    ]  # fmt: skip
    spaces = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}
    narrow = account(namespace, "narrow", looks, [spaces])
    said = llmatrix("gc", "--cluster", kubeconfig=narrow)
    assert said.code == 0, said.err
    assert said.err.count("warning") == said.err.count("you may not list ClusterRoleBindings") == 1
    assert said.out == f"nothing is left standing in or for namespace {namespace.name}\n"

    dry = llmatrix("gc", "--namespace", namespace.name, "--dry-run")
    assert f"would remove {told}" in dry.out
    assert lost in bindings()
    assert told not in llmatrix("gc", "--namespace", namespace.name, "--experiment", "e").out
    assert lost in bindings()
    said = llmatrix("gc", "--namespace", namespace.name)
    assert said.code == 0, said.err
    assert f"removed {told}" in said.out
    assert bindings() & {here, lost, not_ours} == {here, not_ours}


def test_what_cannot_be_removed_is_said(
    namespace: Any, cluster: Any, llmatrix: Runs, account: Callable[..., Any]
) -> None:
    """An account that may cancel runs, and may not remove what stands."""
    pipelines = {
        "apiGroups": ["tekton.dev"],
        "resources": ["pipelineruns", "taskruns"],
        "verbs": ["get", "list", "watch", "patch", "delete"],
    }
    looks = {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]}
    kubeconfig = account(namespace, "narrow", [pipelines, looks])
    namespace.apply(lane(cluster.shell, "e-0", marks("e")), shared("e-1", marks("e")))
    running(namespace, "e-0")
    said = llmatrix("cancel", "e", kubeconfig=kubeconfig)
    assert said.code == 3
    assert "could not remove: ConfigMap" in said.err
    assert "cannot list namespaces" in said.err
    assert names(namespace, "pipelineruns") == set()
    assert "e-1-server" in names(namespace, "configmaps")
