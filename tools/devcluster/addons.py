"""What is installed into the cluster: CoreDNS, Tekton, a storage class, a role for the API server.

The manifests are the projects' own, from the same module that the programs are built from. Changed
is only what must be: images that were to be pulled or built are ours, and settings that these
machines need, each told beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tools.devcluster.families import TEKTON
from tools.devcluster.layout import DNS_SERVICE, DOMAIN, PROVISIONER

Objects = list[dict[str, Any]]
_KO: Final = "ko://github.com/tektoncd/pipeline/cmd/"
_SHELL_ARGUMENT: Final = "-shell-image"
NAMESPACES: Final = ("tekton-pipelines", "tekton-pipelines-resolvers")
FLAGS: Final = {
    # One node: an affinity assistant would only forbid sharing a volume between tasks.
    "coschedule": "disabled",
    # No mesh injects anything here; waiting for it stalled pods under load.
    "running-in-environment-with-injected-sidecars": "false",
    # Lets tasks run in namespaces that enforce the restricted Pod Security standard.
    "set-security-context": "true",
}
"""Feature flags of Tekton that differ from its defaults."""


def objects(programs: Mapping[str, Path], images: Mapping[str, str]) -> Objects:
    """Give everything to install, in an order in which it can be.

    Args:
        programs: what ``builds.provide`` gives.
        images: the short name of an image → its name in containerd.
    """
    return [
        *_own(),
        *_coredns(programs["kubernetes"] / "manifests/coredns.yaml", images["coredns"]),
        *_tekton(programs["tekton"] / "manifests/config", images),
    ]


def digest(wanted: Objects) -> str:
    """Hash what is to be installed."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _own() -> Objects:
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "folders",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        # As the local volumes of real clusters: no volume before there is a pod for it.
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [
        storage,
        _bound("system:kubelet-api-admin", "Group", "llmatrix:kubelet-api"),
        _bound("system:persistent-volume-provisioner", "User", "llmatrix:provisioner"),
    ]


def _bound(role: str, kind: str, name: str) -> dict[str, Any]:
    """Give one of Kubernetes's own roles to one of the subjects that pki.py makes."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": kind, "name": name}],
    }


def _coredns(manifest: Path, image: str) -> Objects:
    text = manifest.read_text(encoding="utf-8")
    for placeholder, value in (
        ("__DNS__DOMAIN__", DOMAIN),
        ("__DNS__SERVER__", DNS_SERVICE),
        ("__DNS__MEMORY__LIMIT__", "170Mi"),
    ):
        text = text.replace(placeholder, value)
    found = read(text)
    for one in found:
        if one["kind"] == "Deployment":
            _container(one)["image"] = image
    return found


def _tekton(config: Path, images: Mapping[str, str]) -> Objects:
    # The order is that of Tekton's own release: folders and files by name.
    paths = [
        *sorted((config / "100-namespace").glob("*.yaml")),
        *sorted(config.glob("2*.yaml")),
        *sorted((config / "300-crds").glob("*.yaml")),
        *(path for path in sorted(config.glob("*.yaml")) if not path.name.startswith("2")),
        *sorted((config / "resolvers").glob("*.yaml")),
    ]
    found = [one for path in paths for one in read(path.read_text(encoding="utf-8"))]
    # One node has nothing to scale to.
    wanted = [one for one in found if one["kind"] != "HorizontalPodAutoscaler"]
    for one in wanted:
        _fit(one, images)
    return wanted


def _fit(one: dict[str, Any], images: Mapping[str, str]) -> None:
    name = one["metadata"]["name"]
    if one["kind"] == "ConfigMap" and name == "feature-flags":
        one["data"] |= FLAGS
    if one["kind"] == "ConfigMap" and name == "pipelines-info":
        one["data"]["version"] = TEKTON
    if one["kind"] != "Deployment":
        return
    container = _container(one)
    container["image"] = _image(container["image"], images)
    container["args"] = [_image(word, images) for word in container.get("args", ())]
    if name == "tekton-pipelines-webhook":
        # A limit would throttle the one who answers every write.
        container["resources"]["limits"].pop("cpu")
    if name == "tekton-pipelines-controller":
        words = container["args"]
        words[words.index(_SHELL_ARGUMENT) + 1] = images["busybox"]
        container["args"] = [*words, "-kube-api-qps=50", "-kube-api-burst=100"]


def _image(word: str, images: Mapping[str, str]) -> str:
    return images[word.removeprefix(_KO)] if word.startswith(_KO) else word


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def read(text: str) -> Objects:
    """Read the documents of a manifest."""
    # The parser in C, where there is one: the definitions of resources are long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [one for one in yaml.load_all(text, Loader=loader) if one]
