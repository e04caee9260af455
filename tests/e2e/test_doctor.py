"""What doctor says of a real cluster, to an administrator and to accounts with fewer rights."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.engines.tekton.submitter import AT_HOME, OF_SITES

Runs = Callable[..., Any]
FILE = """
name: looked-at
model: {name: Qwen/Qwen3-0.6B}
stack: {kind: simulated}
workload: {kind: random, question_len: 10, output_len: 10, load: {rate: 5}, duration: 2s}
run: {parallelism: 2, cluster: {namespace: NAMESPACE, namespaced: NAMESPACED, env: ENV}}
"""


def experiment(
    folder: Path, namespace: str, *, namespaced: bool = True, env: str = "{}", store: str = ""
) -> str:
    text = FILE.replace("NAMESPACED", str(namespaced).lower()).replace("NAMESPACE", namespace)
    text = text.replace("ENV", env) + (f"results: {{store: '{store}'}}\n" if store else "")
    (folder / "e.yaml").write_text(text, encoding="utf-8")
    return "e.yaml"


def answers(said: Any) -> dict[str, dict[str, str]]:
    """Give the last answer about each thing, the worst if there are several."""
    order = ["ok", "warning", "wrong"]
    found: dict[str, dict[str, str]] = {}
    for each in json.loads(said.out):
        known = found.get(each["about"])
        if known is None or order.index(each["verdict"]) > order.index(known["verdict"]):
            found[each["about"]] = each
    return found


def without(rules: list[dict[str, Any]], verb: str, resource: str) -> list[dict[str, Any]]:
    """Give the rules less one verb on one resource."""
    less: list[dict[str, Any]] = []
    for rule in copy.deepcopy(rules):
        if resource in rule["resources"]:
            other = [each for each in rule["resources"] if each != resource]
            less.append({**rule, "resources": other})
            rule["resources"], rule["verbs"] = [resource], [v for v in rule["verbs"] if v != verb]
        less.append(rule)
    return [rule for rule in less if rule["resources"] and rule["verbs"]]


def service_account() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "llmatrix"}}


def test_an_administrator_of_a_fit_cluster(llmatrix: Runs, namespace: Any, tmp_path: Path) -> None:
    said = llmatrix("doctor", experiment(tmp_path, namespace.name))
    assert said.code == 0, said.out
    lines = said.out.splitlines()
    assert all(line.startswith(("ok ", "warning ", "  ")) for line in lines)
    found = answers(llmatrix("doctor", "e.yaml", "--json"))
    assert found["Tekton"]["verdict"] == "ok"
    assert found["your rights"]["told"] == "enough to submit and cancel"
    assert found["accelerators"]["told"].startswith("none are needed")


def test_without_a_file(llmatrix: Runs) -> None:
    said = llmatrix("doctor", "--json")
    assert said.code == 0, said.out
    assert {"cluster", "Tekton", "accelerators", "serving"} <= set(answers(said))


def test_a_namespace_that_is_not_there(llmatrix: Runs) -> None:
    said = llmatrix("doctor", "--namespace", "no-such-namespace", "--json")
    assert said.code == 3
    found = answers(said)["namespace"]
    assert (found["verdict"], found["mend"]) == (
        "wrong",
        "kubectl create namespace no-such-namespace",
    )


def test_a_secret_and_a_claim_that_are_not_there(
    llmatrix: Runs, namespace: Any, tmp_path: Path
) -> None:
    env = "{AWS_SECRET_ACCESS_KEY: {secret: s3, key: password}}"
    file = experiment(tmp_path, namespace.name, env=env, store="s3://bucket/x")
    said = llmatrix("doctor", file, "--json")
    assert said.code == 3
    found = answers(said)
    assert found["secrets"]["mend"] == (
        f"kubectl create secret generic s3 -n {namespace.name} --from-literal=password=…"
    )
    assert "AWS_SECRET_ACCESS_KEY" in found["store"]["told"]
    value = {"password": "cGFzcw=="}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "data": value}
    )
    said = llmatrix("doctor", file, "--json")
    assert said.code == 0, said.out
    assert "cGFzcw" not in said.out
    assert "pass" not in said.out.replace("password", "")


def test_a_restricted_namespace(
    llmatrix: Runs, make_namespace: Callable[..., Any], cluster: Any, tmp_path: Path
) -> None:
    strict = make_namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    flags = cluster.kubectl.get("configmap", "feature-flags", "-n", "tekton-pipelines")["data"]
    said = llmatrix("doctor", experiment(tmp_path, strict.name), "--json")
    found = answers(said)["pod security"]
    assert "enforces restricted" in found["told"]
    assert (found["verdict"] == "ok") == (flags["set-security-context"] == "true")


@pytest.mark.parametrize("namespaced", [True, False])
def test_an_account_with_exactly_the_rights(
    llmatrix: Runs,
    account: Callable[..., Path],
    namespace: Any,
    tmp_path: Path,
    namespaced: bool,  # noqa: FBT001
) -> None:
    namespace.apply(service_account())
    whole = () if namespaced else OF_SITES
    kubeconfig = account(namespace, "exact", AT_HOME, whole)
    file = experiment(tmp_path, namespace.name, namespaced=namespaced, store="s3://bucket/x")
    said = llmatrix("doctor", file, "--json", kubeconfig=kubeconfig)
    found = answers(said)
    assert found["your rights"]["verdict"] == "ok", found["your rights"]
    assert said.code == 0, said.out


@pytest.mark.parametrize(
    ("verb", "resource", "named"),
    [
        ("create", "pipelineruns", "pipelineruns.tekton.dev"),
        ("patch", "pipelineruns", "pipelineruns.tekton.dev"),
        ("get", "pods/log", "pods/log"),
        ("create", "persistentvolumeclaims", "persistentvolumeclaims"),
    ],
)
def test_one_right_less_is_named_and_nothing_is_created(
    llmatrix: Runs,
    account: Callable[..., Path],
    namespace: Any,
    tmp_path: Path,
    verb: str,
    resource: str,
    named: str,
) -> None:
    namespace.apply(service_account())
    kubeconfig = account(namespace, "less", without(AT_HOME, verb, resource))
    file = experiment(tmp_path, namespace.name)
    who = f"system:serviceaccount:{namespace.name}:less"
    sentence = f"{who} may not {verb} {named} in namespace {namespace.name}"

    said = llmatrix("doctor", file, "--json", kubeconfig=kubeconfig)
    assert said.code == 3
    found = answers(said)["your rights"]
    assert found["told"] == sentence

    said = llmatrix("submit", file, kubeconfig=kubeconfig)
    assert said.code == 3, said.err
    assert sentence in said.err
    for kind in ("pipelineruns", "tasks", "stepactions", "pvc", "roles"):
        made = {each["metadata"]["name"] for each in namespace.get(kind)["items"]}
        assert made <= {"less"}, kind

    # What doctor says mends it, does.
    for command in found["mend"].split(" && "):
        words = command.removeprefix("kubectl ").split()
        namespace.cluster.kubectl.run(*words)
    said = llmatrix("doctor", file, "--json", kubeconfig=kubeconfig)
    assert answers(said)["your rights"]["verdict"] == "ok"


def test_who_may_not_make_the_account_of_the_steps_is_told(
    llmatrix: Runs, account: Callable[..., Path], namespace: Any, tmp_path: Path
) -> None:
    kubeconfig = account(namespace, "plain", AT_HOME)
    file = experiment(tmp_path, namespace.name)
    said = llmatrix("submit", file, kubeconfig=kubeconfig)
    assert said.code == 3
    assert "may not create, patch serviceaccounts in namespace" in said.err
    assert namespace.get("pipelineruns")["items"] == []


def test_a_dead_cluster_is_told_soon(llmatrix: Runs, cluster: Any, tmp_path: Path) -> None:
    words = ("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    config = json.loads(cluster.kubectl.run(*words))
    for each in config["clusters"]:
        each["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "dead"
    path.write_text(json.dumps(config), encoding="utf-8")
    began = time.monotonic()
    said = llmatrix("doctor", kubeconfig=path)
    assert said.code == 3
    assert "the API server at https://127.0.0.1:1 does not answer" in said.out
    assert time.monotonic() - began < 60  # patience for a run is 90 s


def test_a_bad_file_is_told_first(llmatrix: Runs, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: UPPER\n", encoding="utf-8")
    assert llmatrix("doctor", "bad.yaml").code == 2
    (tmp_path / "p.yaml").write_text(
        FILE.replace("kind: simulated", "kind: process, command: [true]")
        .replace("NAMESPACED", "true")
        .replace("NAMESPACE", "default")
        .replace("ENV", "{}"),
        encoding="utf-8",
    )
    said = llmatrix("doctor", "p.yaml")
    assert said.code == 2, said.out + said.err
