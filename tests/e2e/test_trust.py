"""The cluster refuses what must be refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.devcluster.kubectl import Kubectl

Ending = Callable[[dict[str, Any]], dict[str, Any]]
STEP = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def once(shell: str, **step: Any) -> dict[str, Any]:
    """Describe a run of one step that does nothing."""
    described = {"name": "nothing", "image": shell, "command": ["true"], **step}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "once"},
        "spec": {"taskSpec": {"steps": [described]}},
    }


@pytest.fixture
def restricted(make_namespace: Callable[..., Any]) -> Any:
    return make_namespace({"pod-security.kubernetes.io/enforce": "restricted"})


def test_a_restricted_namespace_refuses_a_privileged_pod(
    restricted: Any, pod: Callable[..., dict[str, Any]], fault: type[Exception]
) -> None:
    loose = {"securityContext": {"privileged": True}}
    with pytest.raises(fault, match="violates PodSecurity"):
        restricted.apply(pod("loose", "true", container=loose))
    restricted.apply(pod("tight", "true"))
    restricted.pod_ended("tight")


def test_a_restricted_namespace_runs_a_task_where_tekton_is_told_to(
    restricted: Any, ending: Ending
) -> None:
    """Stock Tekton's own init container is refused; the feature flag makes it fit."""
    flags = restricted.cluster.kubectl.get("configmap", "feature-flags", "-n", "tekton-pipelines")
    restricted.apply(once(restricted.cluster.shell, securityContext=STEP))
    end = ending(restricted.run_ended("taskrun", "once"))
    if flags["data"]["set-security-context"] == "true":
        assert end["status"] == "True", end
    else:
        assert end["reason"] == "PodAdmissionFailed", end


def test_a_restricted_namespace_refuses_a_task_that_says_nothing(
    restricted: Any, ending: Ending
) -> None:
    restricted.apply(once(restricted.cluster.shell, securityContext={"runAsUser": 0}))
    end = ending(restricted.run_ended("taskrun", "once"))
    assert end["status"] == "False"
    assert "violates PodSecurity" in end["message"]


def test_a_narrow_service_account_may_do_no_more_than_it_is_given(
    namespace: Any, tmp_path: Path, fault: type[Exception]
) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "narrow"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "narrow"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": "narrow",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "narrow"}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "narrow"}}
    namespace.apply(account, role, binding)
    narrow = as_account(namespace, "narrow", tmp_path)
    here = ("-n", namespace.name)
    assert narrow.get("configmaps", *here)["items"]
    for words in (
        ("get", "secrets", *here),
        ("delete", "configmap", "kube-root-ca.crt", *here),
        ("get", "configmaps", "-n", "kube-system"),
        ("get", "nodes"),
    ):
        with pytest.raises(fault, match="forbidden"):
            narrow.run(*words)


def as_account(namespace: Any, name: str, folder: Path) -> Kubectl:
    """Give kubectl with the rights of a service account and nothing of the administrator's."""
    kubectl = namespace.cluster.kubectl
    flattened = kubectl.run("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    config = json.loads(flattened)
    token = namespace.run("create", "token", name).strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{namespace.name}:{name}"
    for user in config["users"]:
        user["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return Kubectl(kubectl.program, path)
