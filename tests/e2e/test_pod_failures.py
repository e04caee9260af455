"""Pods that cannot run, for every reason that a cluster can be made to have: each is told by name.

Nothing here waits for a timeout: a message that tells one would not match.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from e2e.sites import (
    account,
    admin,
    home,
    make_site,
    nobody_stops,
    rights,
    role,
    shared,
)
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, Object
from llmatrix.errors import FailureClass, StepFailure, Stopped
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_parts, kubernetes_pods
from llmatrix.stacks.kubernetes_site import KubernetesSite

pytestmark = pytest.mark.long

__all__ = ["account", "admin", "home", "make_site", "rights", "role", "shared"]
USER, SERVER, ENVIRONMENT = FailureClass.USER, FailureClass.SERVER, FailureClass.ENVIRONMENT
SERVE = ("sh", "-c", "mkdir /tmp/w; echo ok > /tmp/w/health; exec httpd -f -p 8000 -h /tmp/w")
CLAIM = {"name": "weights", "persistentVolumeClaim": {"claimName": "weights"}}
Make = Callable[..., Object]


@pytest.fixture
def owner(cluster: Any, shared: KubernetesSite) -> Make:
    """Describe a Deployment or StatefulSet of pods of the shell; ready ones answer /health."""

    def describe(
        kind: str = "Deployment",
        *,
        command: tuple[str, ...] = SERVE,
        image: str = cluster.shell,
        volumes: tuple[Object, ...] = (),
        requests: dict[str, str] | None = None,
        **more: Any,
    ) -> Object:
        mark = {labels.SITE: shared.address.name, labels.STEP: Step.SERVER.value}
        container = kubernetes_parts.container(
            "server",
            command,
            image=image,
            pull_policy="IfNotPresent",
            port=8000,
            requests=requests or {"cpu": "1m"},
            more=more,
        )
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": mark},
            "template": {
                "metadata": {"labels": mark},
                "spec": kubernetes_parts.pod([container], volumes=volumes, grace_s=1),
            },
        }
        if kind == "StatefulSet":
            spec["serviceName"] = "none"
        name = shared.address.object_name("server")
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    return describe


def brought_up(
    site: KubernetesSite, document: Object, stop: threading.Event | None = None
) -> list[Object]:
    site.prepare(nobody_stops())
    stop = stop or nobody_stops()
    return kubernetes_pods.bring_up(site, Step.SERVER, [document], 1, 120.0, stop)


def fails(site: KubernetesSite, document: Object, says: str) -> StepFailure:
    with pytest.raises(StepFailure, match=says) as caught:
        brought_up(site, document)
    return caught.value


def test_what_is_fine_becomes_ready_and_tells_its_progress(
    shared: KubernetesSite, owner: Make
) -> None:
    said: list[str] = []
    shared.said = said.append
    (pod,) = brought_up(shared, owner("StatefulSet"))
    assert pod["metadata"]["name"] == f"{shared.address.object_name('server')}-0"
    assert list(shared.state().standing(Step.SERVER)) == [pod["metadata"]["name"]]
    assert said
    assert all(line.startswith("server: 0 of 1 pods ready; 1 ") for line in said)


def test_a_secret_that_is_missing(shared: KubernetesSite, owner: Make) -> None:
    reference = {"secretKeyRef": {"name": "hf-secret", "key": "token"}}
    document = owner(env=[{"name": "HF_TOKEN", "valueFrom": reference}])
    failure = fails(shared, document, r'pod .*: container server cannot be made: .*"hf-secret"')
    assert failure.failure is USER


def test_a_volume_whose_content_is_missing(shared: KubernetesSite, owner: Make) -> None:
    volume = {"name": "config", "configMap": {"name": "absent"}}
    # A volume that no container mounts is not waited for.
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "config", "mountPath": "/config"}]
    document = owner(volumes=(volume,), volumeMounts=mounts)
    failure = fails(shared, document, r'cannot be mounted: .*"absent" not found')
    assert failure.failure is USER


def test_a_program_that_is_not_in_the_image(shared: KubernetesSite, owner: Make) -> None:
    failure = fails(shared, owner(command=("/nothing",)), "cannot be started: .*no such file")
    assert failure.failure is USER


def test_a_program_that_ends(shared: KubernetesSite, owner: Make) -> None:
    command = ("sh", "-c", "echo loading; echo no such flag; exit 3")
    failure = fails(shared, owner(command=command), r"exit status 3 .*last line: no such flag")
    assert failure.failure is SERVER
    assert "loading" in failure.log


def test_a_program_that_takes_too_much_memory(shared: KubernetesSite, owner: Make) -> None:
    limits = {"resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "16Mi"}}}
    # Doubles a variable until the kernel has enough of it.
    command = ("sh", "-c", "a=xxxxxxxx; while true; do a=$a$a; done")
    failure = fails(shared, owner(command=command, **limits), "more memory than it may")
    assert failure.failure is SERVER


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_pod_that_the_namespace_does_not_admit(
    shared: KubernetesSite, owner: Make, kind: str
) -> None:
    document = owner(kind, securityContext={"privileged": True})
    failure = fails(shared, document, f"{kind} .* its pods are refused: .*violates PodSecurity")
    assert failure.failure is USER


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_quota_that_is_too_small(
    shared: KubernetesSite, owner: Make, admin: Cluster, kind: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": shared.namespace},
        "spec": {"hard": {"requests.cpu": "100m"}},
    }
    admin.create(quota)
    document = owner(kind, requests={"cpu": "200m"})
    failure = fails(shared, document, "its pods are refused: .*exceeded quota: small")
    assert failure.failure is USER


def test_a_claim_that_no_class_serves(shared: KubernetesSite, owner: Make, admin: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights", "namespace": shared.namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "absent",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    admin.create(claim)
    failure = fails(shared, owner(volumes=(CLAIM,)), r'"absent" not found|a volume .* not there')
    assert failure.failure in {USER, ENVIRONMENT}


def test_a_claim_that_is_not_there(shared: KubernetesSite, owner: Make) -> None:
    failure = fails(shared, owner(volumes=(CLAIM,)), 'claim "weights" not found')
    assert failure.failure in {USER, ENVIRONMENT}


def test_a_resource_that_no_node_has(shared: KubernetesSite, owner: Make) -> None:
    amount = {"nvidia.com/gpu": "8"}
    document = owner(resources={"requests": amount, "limits": amount})
    failure = fails(shared, document, "fits on no node: it asks for nvidia.com/gpu 8")
    assert failure.failure is USER


def test_claims_of_a_stateful_set_go_with_the_site(
    shared: KubernetesSite, owner: Make, admin: Cluster
) -> None:
    shared.cluster = admin  # a stack that keeps model files has rights to claims, too
    document = owner("StatefulSet")
    claim = {
        "metadata": {"name": "cache"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    document["spec"]["volumeClaimTemplates"] = [claim]
    brought_up(shared, document)
    here = {labels.SITE: shared.address.name}
    assert len(admin.find(PERSISTENT_VOLUME_CLAIM, shared.namespace, here)) == 1
    assert shared.remove() == []
    assert admin.find(PERSISTENT_VOLUME_CLAIM, shared.namespace, here) == []


def test_a_stop_ends_the_waiting_and_what_was_begun(
    shared: KubernetesSite, owner: Make, admin: Cluster
) -> None:
    stop = threading.Event()
    threading.Timer(3.0, stop.set).start()
    with pytest.raises(Stopped):
        brought_up(shared, owner(command=("sleep", "600")), stop)
    assert shared.remove() == []
    del admin
