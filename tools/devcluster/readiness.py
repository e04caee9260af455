"""Tells whether the cluster works, by using it: what etcd remembers of last time proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Final

from llmatrix.stacks.waiting import until
from tools.devcluster import asking
from tools.devcluster.addons import NAMESPACES
from tools.devcluster.faults import ClusterFault
from tools.devcluster.kubectl import Kubectl
from tools.devcluster.layout import DNS_SERVICE, DOMAIN, NODE

_PATIENCE_S: Final = 180.0
_LEADER: Final = "tekton-pipelines-controller.github.com.tektoncd.pipeline.pkg.reconciler"
_NOTHING: Final = {
    "apiVersion": "tekton.dev/v1",
    "kind": "Task",
    "metadata": {"name": "devcluster-probe", "namespace": "default"},
    "spec": {"steps": [{"name": "nothing", "image": "none:0", "command": ["true"]}]},
}


def node(kubectl: Kubectl, since: float) -> None:
    """Wait until the kubelet has said, after ``since`` (seconds since 1970), that it is ready.

    Raises:
        ClusterFault: it does not become ready.
    """
    await_that("the node", lambda: _node_ready(kubectl, since), lambda: _node_state(kubectl))


def addons(kubectl: Kubectl) -> None:
    """Wait until CoreDNS and Tekton work.

    Raises:
        ClusterFault: one of them does not.
    """
    for what, works in conditions(kubectl):
        await_that(what, works, lambda: pods(kubectl))


def conditions(kubectl: Kubectl) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Give what must be true of CoreDNS and Tekton, each with its name."""
    name = f"kubernetes.default.svc.{DOMAIN}"
    yield "CoreDNS", partial(asking.name_server, DNS_SERVICE, name)
    yield "Tekton's webhook", partial(_admits, kubectl)
    for namespace in NAMESPACES:
        yield f"the deployments in {namespace}", partial(_available, kubectl, namespace)
    yield "Tekton's controller as the leader", partial(_leads, kubectl)


def await_that(what: str, condition: Callable[[], bool], state: Callable[[], str]) -> None:
    """Wait until the condition holds.

    Raises:
        ClusterFault: it does not; the message ends with the state.
    """
    if not until(condition, _PATIENCE_S, every_s=0.25):
        raise ClusterFault(f"{what} did not become ready in {_PATIENCE_S:.0f} s:\n{state()}")


def _node_ready(kubectl: Kubectl, since: float) -> bool:
    try:
        conditions = kubectl.get("node", NODE)["status"].get("conditions", ())
    except ClusterFault:
        return False
    return any(
        one["type"] == "Ready"
        and one["status"] == "True"
        and _moment(one["lastHeartbeatTime"]) >= int(since)
        for one in conditions
    )


def _admits(kubectl: Kubectl) -> bool:
    """Let the webhook answer: a dry run passes through it and stores nothing."""
    try:
        kubectl.run("create", "--dry-run=server", "-f", "-", given=json.dumps(_NOTHING))
    except ClusterFault:
        return False
    return True


def _available(kubectl: Kubectl, namespace: str) -> bool:
    try:
        found = kubectl.get("deployments", "-n", namespace)["items"]
    except ClusterFault:
        return False
    return bool(found) and all(
        one["status"].get("availableReplicas", 0) >= one["spec"]["replicas"]
        and one["status"].get("observedGeneration", 0) >= one["metadata"]["generation"]
        for one in found
    )


def _leads(kubectl: Kubectl) -> bool:
    """Tell whether somebody holds the controller's leases: without them it does nothing.

    ``up`` deletes them when no pod runs, so that who holds one now took it since.
    """
    try:
        found = kubectl.get("leases", "-n", NAMESPACES[0])["items"]
    except ClusterFault:
        return False
    mine = [one["spec"] for one in found if one["metadata"]["name"].startswith(_LEADER)]
    return bool(mine) and all(one.get("holderIdentity") for one in mine)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _node_state(kubectl: Kubectl) -> str:
    return kubectl.run("describe", "node", NODE)[-1500:]


def pods(kubectl: Kubectl) -> str:
    """Show all pods."""
    return kubectl.run("get", "pods", "-A", "-o", "wide")
