"""A real cluster for the tests, and a namespace of its own for each.

``LLMATRIX_E2E_KUBECONFIG`` names a cluster that is there (kind, minikube, a real one), with Tekton
installed; ``LLMATRIX_E2E_IMAGE`` the image of llmatrix and ``LLMATRIX_E2E_SHELL`` one with busybox
that it can pull. Without the first, the cluster of tools/devcluster is brought up; where it cannot
be had, the tests are skipped, or with ``LLMATRIX_E2E_REQUIRED`` fail.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmatrix.stacks.waiting import until
from tools.devcluster import cluster as devcluster
from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import layout

LABEL = "llmatrix.dev/e2e"
PATIENCE_S = 90.0
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the restricted Pod Security standard asks of a container, and a read-only root."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@dataclass(frozen=True)
class Cluster:
    """A cluster and what can run in it.

    Attributes:
        kubectl: an administrator of it.
        shell: an image with busybox.
        llmatrix: our own image; empty where nobody said which.
        tkn: Tekton's command line; None where there is none.
        namespaces: those that tests of this session have made.
    """

    kubectl: Kubectl
    shell: str
    llmatrix: str
    tkn: Path | None
    namespaces: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test."""

    name: str
    cluster: Cluster

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make the objects in this namespace."""
        for one in objects:
            one["metadata"]["namespace"] = self.name
        self.cluster.kubectl.apply(objects)

    def get(self, *words: str) -> Any:
        """Give what kubectl finds here, as JSON."""
        return self.cluster.kubectl.get("-n", self.name, *words)

    def run(self, *words: str) -> str:
        """Run kubectl here."""
        return self.cluster.kubectl.run("-n", self.name, *words)

    def until(self, condition: Callable[[dict[str, Any]], bool], *words: str) -> dict[str, Any]:
        """Wait until what ``kubectl get`` gives fulfils the condition; give it."""
        last: dict[str, Any] = {}

        def fulfilled() -> bool:
            last.clear()
            last.update(self.get(*words))
            return condition(last)

        if not until(fulfilled, PATIENCE_S, every_s=0.25):
            events = self.run("get", "events", "--sort-by=.lastTimestamp")
            state = json.dumps(last.get("status", last), indent=1)[-3000:]
            pytest.fail(
                f"{words} did not come to be so within {PATIENCE_S:.0f} s:\n{state}\n{events}"
            )
        return last

    def pod_ended(self, name: str) -> str:
        """Wait until the pod has ended well and give what it printed."""
        pod = self.until(lambda it: it["status"]["phase"] in {"Succeeded", "Failed"}, "pod", name)
        printed = self.run("logs", name)
        assert pod["status"]["phase"] == "Succeeded", printed
        return printed

    def run_ended(self, kind: str, name: str) -> dict[str, Any]:
        """Wait until a TaskRun or PipelineRun has ended, and give it."""
        return self.until(lambda it: succeeded(it).get("status") in {"True", "False"}, kind, name)


def succeeded(run: dict[str, Any]) -> dict[str, Any]:
    """Give the ``Succeeded`` condition of a TaskRun or PipelineRun; empty if it has none yet."""
    found = run.get("status", {}).get("conditions", ())
    return next((dict(one) for one in found if one["type"] == "Succeeded"), {})


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    there = os.environ.get("LLMATRIX_E2E_KUBECONFIG")
    ours = _theirs(Path(there)) if there else _own()
    yield ours

    def left() -> set[str]:
        found = ours.kubectl.get("namespaces", "-l", LABEL)["items"]
        return {one["metadata"]["name"] for one in found} & set(ours.namespaces)

    assert until(lambda: not left(), PATIENCE_S, every_s=0.5), f"not removed: {left()}"


def _own() -> Cluster:
    place = layout()
    try:
        parts = devcluster.up(place)
        image = devcluster.load_step_image(place)
    except CannotRunHere as reason:
        if os.environ.get("LLMATRIX_E2E_REQUIRED"):
            raise
        pytest.skip(f"no cluster can be had here: {reason}")
    kubectl = devcluster.administrator(place, parts)
    return Cluster(kubectl, parts.images["busybox"].name, image, parts.programs["tkn"] / "tkn")


def _theirs(kubeconfig: Path) -> Cluster:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("LLMATRIX_E2E_KUBECONFIG names a cluster, but there is no kubectl here")
    return Cluster(
        Kubectl(Path(program), kubeconfig),
        os.environ.get("LLMATRIX_E2E_SHELL", "docker.io/library/busybox:1.36"),
        os.environ.get("LLMATRIX_E2E_IMAGE", ""),
        Path(tkn) if (tkn := shutil.which("tkn")) else None,
    )


@pytest.fixture
def make_namespace(cluster: Cluster) -> Iterator[Callable[..., Namespace]]:
    """Make namespaces, with labels; they are removed after the test."""
    made: list[str] = []

    def make(labels: Mapping[str, str] | None = None) -> Namespace:
        name = f"llmatrix-e2e-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": {LABEL: "true", **(labels or {})}}
        cluster.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        made.append(name)
        cluster.namespaces.append(name)
        namespace = Namespace(name, cluster)
        # Pods are refused until the controller has made their service account.
        namespace.until(
            lambda it: any(one["metadata"]["name"] == "default" for one in it["items"]),
            "serviceaccounts",
        )
        return namespace

    yield make
    for name in made:
        cluster.kubectl.run("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def namespace(make_namespace: Callable[..., Namespace]) -> Namespace:
    """A namespace as any other."""
    return make_namespace()


@dataclass(frozen=True)
class Said:
    """What a command of llmatrix ended with and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def llmatrix(cluster: Cluster, tmp_path: Path) -> Callable[..., Said]:
    """Run the real command line against the cluster, as an administrator or as an account."""

    def run(*words: str, kubeconfig: Path | None = None, **env: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "llmatrix", *words],
            env={
                **os.environ,
                "KUBECONFIG": str(kubeconfig or cluster.kubectl.kubeconfig),
                "COLUMNS": "200",
                **env,
            },
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE_S * 3,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def account(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make accounts with exactly the rules given, and kubeconfigs by which to be them.

    ``account(namespace, name, rules, cluster_rules)``; rules are those of RBAC.
    """
    api = "rbac.authorization.k8s.io"
    bound: list[str] = []

    def make(
        namespace: Namespace,
        name: str,
        rules: Sequence[dict[str, Any]],
        cluster_rules: Sequence[dict[str, Any]] = (),
    ) -> Path:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace.name}

        def pair(kind: str, called: str, of: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            metadata = {"name": called}
            ref = {"apiGroup": api, "kind": kind, "name": called}
            return [
                {
                    "apiVersion": f"{api}/v1",
                    "kind": kind,
                    "metadata": dict(metadata),
                    "rules": list(of),
                },
                {
                    "apiVersion": f"{api}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": dict(metadata),
                    "roleRef": ref,
                    "subjects": [subject],
                },
            ]

        namespace.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            *pair("Role", name, rules),
        )
        wide = f"{namespace.name}-{name}"
        bound.append(wide)
        cluster.kubectl.apply(pair("ClusterRole", wide, cluster_rules))
        words = ("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
        config = json.loads(cluster.kubectl.run(*words))
        token = namespace.run("create", "token", name).strip()
        for user in config["users"]:
            user["user"] = {"token": token}
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace.name
        path = tmp_path / f"{name}.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    yield make
    for wide in bound:
        for kind in ("clusterrolebinding", "clusterrole"):
            cluster.kubectl.run("delete", kind, wide, "--ignore-not-found")


@pytest.fixture
def our_image(cluster: Cluster) -> str:
    """The image of llmatrix."""
    if not cluster.llmatrix:
        pytest.skip("LLMATRIX_E2E_IMAGE does not say which image of llmatrix the cluster can pull")
    return cluster.llmatrix


@pytest.fixture(scope="session")
def pod(cluster: Cluster) -> Callable[..., dict[str, Any]]:
    """Describe a pod that runs a command once: ``pod(name, *command, image=…, **spec)``."""

    def describe(
        name: str,
        *command: str,
        image: str | None = None,
        container: dict[str, Any] | None = None,
        labels: dict[str, str] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        described = {
            "name": "main",
            "image": image or cluster.shell,
            "command": list(command),
            "securityContext": RESTRICTED,
            **(container or {}),
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [described],
                **spec,
            },
        }

    return describe


@pytest.fixture(scope="session")
def service() -> Callable[[str, int], dict[str, Any]]:
    """Describe a service for the pods labelled ``app: NAME``, at the port they listen on."""

    def describe(name: str, port: int) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]},
        }

    return describe


@pytest.fixture(scope="session")
def fault() -> type[ClusterFault]:
    """What a refused kubectl raises."""
    return ClusterFault


@pytest.fixture(scope="session")
def ending() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Give the ``Succeeded`` condition of a TaskRun or PipelineRun."""
    return succeeded
