"""What ``add gateway`` installs: the definitions of pools and gateways, and Envoy Gateway.

Definitions and charts are the projects' own, from the modules that the programs are built from. A
chart is rendered by helm and applied by us, as a stack's charts are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tools.devcluster import addons, asking, readiness
from tools.devcluster.addons import Objects
from tools.devcluster.command import output
from tools.devcluster.faults import ClusterFault
from tools.devcluster.kubectl import Kubectl

CLASS: Final = "envoy"
"""The GatewayClass that Envoy Gateway serves."""
NAMESPACE: Final = "envoy-gateway-system"
"""Where its controller runs, and the Envoy of each Gateway."""
_CONTROLLER: Final = "gateway.envoyproxy.io/gatewayclass-controller"
_POOLS: Final = "inferencepools.inference.networking.k8s.io"
_HOOK: Final = "helm.sh/hook"
_METRICS: Final = 19001


@dataclass(frozen=True)
class Wanted:
    """What to install, in the order in which it must be.

    Attributes:
        first: definitions, the namespace, and what the certificates' job needs.
        certificates: the job that makes them; the controller does not start without.
        rest: the controller and the class of gateways.
    """

    first: Objects
    certificates: dict[str, Any]
    rest: Objects

    def digest(self) -> str:
        """Hash all of it."""
        return addons.digest([*self.first, self.certificates, *self.rest])


def wanted(programs: Mapping[str, Path], images: Mapping[str, str]) -> Wanted:
    """Give everything to install.

    Args:
        programs: the folder of each family's programs.
        images: the short name of an image → its name in containerd.
    """
    picker, gateway = programs["gaie"], programs["envoygateway"]
    chart = gateway / "manifests/charts/gateway-helm"
    rendered = _render(programs["helm"] / "helm", chart, images["envoy-gateway"])
    hooks = [one for one in rendered if _HOOK in one["metadata"].get("annotations", {})]
    (certificates,) = [one for one in hooks if one["kind"] == "Job"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return Wanted(
        [
            *_definitions(picker / "manifests/crds"),
            *_definitions(chart / "crds"),
            namespace,
            *(one for one in hooks if one is not certificates),
        ],
        certificates,
        [*(one for one in rendered if one not in hooks), *_class(images["envoy"])],
    )


def install(kubectl: Kubectl, objects: Wanted) -> None:
    """Install what ``wanted`` gives; may be repeated.

    Raises:
        ClusterFault: something is refused, or the certificates are not made.
    """
    kubectl.apply(objects.first)
    # A job cannot be changed, and one that is over makes nothing again. Its pod must be gone too:
    # two at work make secrets of two authorities, and no Envoy would trust the controller.
    job = ("job", objects.certificates["metadata"]["name"], "-n", NAMESPACE)
    kubectl.run("delete", *job, "--ignore-not-found", "--cascade=foreground")
    mixed = not certificates_agree(kubectl)
    if mixed:
        kubectl.run("delete", "secrets", *_secrets(kubectl), "-n", NAMESPACE)
    kubectl.apply([objects.certificates])
    kubectl.run("wait", *job, "--for=condition=complete", "--timeout=300s")
    kubectl.apply(objects.rest)
    if mixed:
        kubectl.run("delete", "pods", "-l", "control-plane=envoy-gateway", "-n", NAMESPACE)


def certificates_agree(kubectl: Kubectl) -> bool:
    """Tell whether the certificates that are there are of one authority."""
    return len(set(_secrets(kubectl).values())) <= 1


def _secrets(kubectl: Kubectl) -> dict[str, str]:
    """Give the secrets with certificates: a name → the authority."""
    found = kubectl.get("secrets", "-n", NAMESPACE)["items"]
    return {
        one["metadata"]["name"]: one["data"]["ca.crt"] for one in found if "ca.crt" in one["data"]
    }


def conditions(kubectl: Kubectl) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Give what must be true of it, each with its name."""
    yield "the definition of InferencePool", partial(_established, kubectl)
    yield "Envoy Gateway", partial(_answers, kubectl)
    yield "the certificates of Envoy Gateway", partial(certificates_agree, kubectl)
    yield f"the GatewayClass {CLASS}", partial(_accepted, kubectl)


def await_ready(kubectl: Kubectl) -> None:
    """Wait until all of that is true.

    Raises:
        ClusterFault: something is not.
    """
    for what, works in conditions(kubectl):
        readiness.await_that(what, works, lambda: readiness.pods(kubectl))


def _render(helm: Path, chart: Path, image: str) -> Objects:
    """Render Envoy Gateway's chart; the values that its module lacks are those of its template."""
    values = {
        "global": {"images": {"envoyGateway": {"image": image, "pullPolicy": "IfNotPresent"}}},
        # The two that bring a picker to a class that does not know pools.
        "config": {
            "envoyGateway": {
                "extensionApis": {"enableEnvoyPatchPolicy": True, "enableBackend": True}
            }
        },
    }
    return render(helm, chart, "eg", NAMESPACE, values, chart / "values.tmpl.yaml")


def render(
    helm: Path,
    chart: Path,
    release: str,
    namespace: str,
    values: Mapping[str, Any],
    *below: Path,
) -> Objects:
    """Give the objects of a chart, its hooks among them.

    Args:
        helm: the program.
        chart: its folder.
        release: what the release is called.
        namespace: where it is to be.
        values: what differs from the chart's own values.
        below: files of values that ``values`` is laid over.

    Raises:
        ClusterFault: helm refuses; the message is its own.
    """
    files = [f"--values={path}" for path in (*below, "-")]
    command: list[str | Path] = [helm, "template", release, chart, f"--namespace={namespace}"]
    return addons.read(output([*command, *files], given=json.dumps(values)))


def _definitions(folder: Path) -> Objects:
    return [
        one
        for path in sorted(folder.rglob("*.yaml"))
        for one in addons.read(path.read_text(encoding="utf-8"))
    ]


def _class(envoy: str) -> Objects:
    group = "gateway.envoyproxy.io"
    container = {"image": envoy, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
    proxy = {
        "apiVersion": f"{group}/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": CLASS, "namespace": NAMESPACE},
        "spec": {
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {
                    "envoyDeployment": {"container": container},
                    # Nobody gives out addresses of load balancers here.
                    "envoyService": {"type": "ClusterIP"},
                },
            },
            # A Gateway of a test goes when the test is over; nobody is left to be waited for.
            "shutdown": {"drainTimeout": "1s", "minDrainDuration": "0s"},
        },
    }
    parameters = {"group": group, "kind": "EnvoyProxy", "name": CLASS, "namespace": NAMESPACE}
    gateway_class = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {"controllerName": _CONTROLLER, "parametersRef": parameters},
    }
    return [proxy, gateway_class]


def _established(kubectl: Kubectl) -> bool:
    return _holds(kubectl, "Established", "customresourcedefinition", _POOLS)


def _accepted(kubectl: Kubectl) -> bool:
    return _holds(kubectl, "Accepted", "gatewayclass", CLASS)


def _holds(kubectl: Kubectl, condition: str, *words: str) -> bool:
    try:
        found = kubectl.get(*words).get("status", {}).get("conditions", ())
    except ClusterFault:
        return False
    return any(one["type"] == condition and one["status"] == "True" for one in found)


def _answers(kubectl: Kubectl) -> bool:
    """Ask the controller itself, by its service: it is ready or nobody answers there."""
    try:
        address = kubectl.get("service", "envoy-gateway", "-n", NAMESPACE)["spec"]["clusterIP"]
    except ClusterFault:
        return False
    return asking.http(f"http://{address}:{_METRICS}/metrics")
