"""How waiting for pods counts and words what it sees; pods that fail for real are in tests/e2e."""

from __future__ import annotations

from typing import Any, cast

import pytest

from llmatrix.cluster.faults import fault
from llmatrix.cluster.pods import Trouble
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_namespace
from llmatrix.stacks.kubernetes_asking import asking
from llmatrix.stacks.kubernetes_pods import _FORGOTTEN_LOOKS, Waiting, progress
from llmatrix.stacks.kubernetes_site import KubernetesSite, on_kubernetes

USER, ENVIRONMENT = FailureClass.USER, FailureClass.ENVIRONMENT


def pod(name: str, *, ready: bool, waiting: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name, "uid": name},
        "spec": {},
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(ready)},
            ],
            "containerStatuses": [{"name": "c", "state": state}],
        },
    }


def test_progress_counts_what_the_others_are_doing() -> None:
    found = [
        pod("a", ready=True),
        pod("b", ready=False),
        pod("c", ready=False, waiting="ContainerCreating"),
        pod("d", ready=False, waiting="ContainerCreating"),
    ]
    assert progress(found, 6) == (
        "1 of 6 pods ready; 2 ContainerCreating, 2 not made yet, 1 running, not ready yet"
    )
    assert progress(found[:1], 1) == "1 of 1 pods ready"


def test_a_trouble_is_as_old_as_it_was_seen_without_a_pause() -> None:
    waiting = Waiting(cast("KubernetesSite", None), Step.SERVER, 1)
    one = Trouble("pod a", "ErrImagePull", "first words", ENVIRONMENT, 12.0)
    other = Trouble("pod b", "ErrImagePull", "words", ENVIRONMENT, 12.0)
    assert waiting._lasts_s(one, 100.0) == 0.0
    again = Trouble("pod a", "ErrImagePull", "other words", ENVIRONMENT, 12.0)
    assert waiting._lasts_s(again, 104.0) == 4.0
    assert waiting._lasts_s(other, 104.0) == 0.0
    waiting.looks += _FORGOTTEN_LOOKS
    assert waiting._lasts_s(one, 109.0) == 9.0
    waiting.looks += _FORGOTTEN_LOOKS + 1
    assert waiting._lasts_s(one, 115.0) == 0.0


@pytest.mark.parametrize(
    ("status", "message", "failure"),
    [
        (403, 'User "x" cannot create resource "deployments"', USER),
        (403, "exceeded quota: small", ENVIRONMENT),
        (403, "namespace x: because it is being terminated", ENVIRONMENT),
        (422, "spec.replicas: Invalid value", USER),
        (404, 'namespaces "x" not found', ENVIRONMENT),
        (409, "the object has been modified", ENVIRONMENT),
        (503, "starting", ENVIRONMENT),
        (0, "no answer", ENVIRONMENT),
    ],
)
def test_what_a_refusal_means_for_a_step(status: int, message: str, failure: FailureClass) -> None:
    with pytest.raises(StepFailure) as caught, asking():
        raise fault("cannot apply x", status, {"message": f"{message}."})
    assert caught.value.failure is failure
    assert str(caught.value) == f"cannot apply x: {message}."


def test_what_holds_a_namespace_is_in_its_conditions() -> None:
    condition = {"status": "True", "message": "Some resources are\n remaining: pods. has 2"}
    fine = {"status": "False", "message": "All content successfully deleted"}
    found = {"metadata": {}, "status": {"conditions": [fine, condition]}}
    assert kubernetes_namespace.holders(found) == "Some resources are remaining: pods. has 2"
    assert kubernetes_namespace.holders({"metadata": {}}) == ""


def test_pods_stand_on_no_other_site() -> None:
    with pytest.raises(TypeError, match="object is no site on Kubernetes"):
        on_kubernetes(object())
