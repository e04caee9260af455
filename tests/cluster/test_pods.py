"""What is told about pods, from statuses as a kubelet and a scheduler wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster import pods
from llmatrix.errors import FailureClass

USER, SERVER, ENVIRONMENT = FailureClass.USER, FailureClass.SERVER, FailureClass.ENVIRONMENT
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def pod(
    *states: dict[str, Any],
    conditions: tuple[dict[str, Any], ...] = (SCHEDULED,),
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """Give a pod whose containers ``c0``, ``c1``… have these statuses."""
    statuses = [{"name": f"c{i}", "image": "reg/x:1", **each} for i, each in enumerate(states)]
    return {
        "metadata": {"name": "server-0", "uid": "u"},
        "spec": {"containers": [{"name": f"c{i}", "image": "i"} for i in range(len(states))]}
        | (spec or {}),
        "status": {
            "phase": "Pending",
            "conditions": list(conditions),
            "containerStatuses": statuses,
            **status,
        },
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


def ended(code: int, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


RUNNING = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
NOT_FOUND = (
    'failed to pull and unpack image "reg/x:1": failed to resolve reference "reg/x:1": '
    "reg/x:1: not found"
)


@pytest.mark.parametrize(
    ("status", "reason", "failure", "at_once", "says"),
    [
        (waiting("ErrImagePull", NOT_FOUND), "ErrImagePull", USER, True, "image 'reg/x:1' cannot"),
        (
            waiting(
                "ImagePullBackOff", f'Back-off pulling image "reg/x:1": ErrImagePull: {NOT_FOUND}'
            ),
            "ErrImagePull",
            USER,
            True,
            "cannot be pulled: failed to pull",
        ),
        (
            waiting("ErrImagePull", "pull access denied, repository does not exist"),
            "ErrImagePull",
            USER,
            True,
            "denied",
        ),
        (
            waiting("ErrImagePull", 'Head "https://reg/v2/": dial tcp: i/o timeout'),
            "ErrImagePull",
            ENVIRONMENT,
            False,
            "i/o timeout",
        ),
        (
            waiting("ErrImagePull", "dial tcp: lookup reg on 10.0.0.1:53: no such host"),
            "ErrImagePull",
            USER,
            False,
            "no such host",
        ),
        (waiting("ImagePullBackOff", ""), "ErrImagePull", ENVIRONMENT, False, "no more is told"),
        (waiting("InvalidImageName", "couldn't parse"), "InvalidImageName", USER, True, "no valid"),
        (waiting("ErrImageNeverPull", "x"), "ErrImageNeverPull", USER, True, "not on its node"),
        (
            waiting("CreateContainerConfigError", 'secret "hf-secret" not found'),
            "CreateContainerConfigError",
            USER,
            False,
            'secret "hf-secret" not found',
        ),
        (
            waiting("CreateContainerConfigError", "failed to sync secret cache: timed out"),
            "CreateContainerConfigError",
            ENVIRONMENT,
            False,
            "timed out",
        ),
        (
            waiting("RunContainerError", 'exec: "vllm": executable file not found in $PATH'),
            "RunContainerError",
            USER,
            True,
            "cannot be started",
        ),
        (
            waiting("CreateContainerError", "context deadline exceeded"),
            "CreateContainerError",
            ENVIRONMENT,
            False,
            "deadline",
        ),
        (
            waiting(
                "CrashLoopBackOff",
                "back-off 10s restarting failed container",
                lastState=ended(2),
                restartCount=1,
            ),
            "Error",
            SERVER,
            True,
            "container c0 ended with exit status 2 (Error)",
        ),
        (
            RUNNING | {"lastState": ended(137, "OOMKilled")},
            "OOMKilled",
            SERVER,
            True,
            "more memory",
        ),
        ({"state": ended(0, "Completed")}, "Completed", SERVER, True, "exit status 0"),
        ({"state": ended(139, signal=11)}, "Error", SERVER, True, "by signal 11"),
        (
            {
                "state": ended(
                    128, "StartError", message='exec: "/nothing": no such file or directory'
                )
            },
            "StartError",
            USER,
            True,
            "no such file",
        ),
    ],
)
def test_a_container_in_trouble(
    status: dict[str, Any],
    reason: str,
    failure: FailureClass,
    at_once: bool,  # noqa: FBT001
    says: str,
) -> None:
    found = pods.trouble(pod(status))
    assert found is not None
    assert found.about == "pod server-0"
    assert (found.reason, found.failure) == (reason, failure)
    assert (found.patience_s == 0.0) is at_once
    assert says in found.message
    assert not found.message.endswith(".")


def test_the_log_that_explains_a_crash_is_named() -> None:
    crashed = pods.trouble(pod(RUNNING, {"state": ended(1)}))
    assert crashed is not None
    assert (crashed.container, crashed.previous) == ("c1", False)
    again = pods.trouble(pod(RUNNING | {"lastState": ended(1), "restartCount": 1}))
    assert again is not None
    assert (again.container, again.previous) == ("c0", True)


def unscheduled(message: str) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    containers = [
        {"name": "a", "image": "i", "resources": {"requests": {"nvidia.com/gpu": "8"}}},
        {"name": "b", "image": "i", "resources": {"requests": {"cpu": "1"}}},
    ]
    return pod(conditions=(condition,), spec={"containers": containers})


def test_what_fits_on_no_node_is_the_users_to_mend() -> None:
    found = pods.trouble(
        unscheduled(
            "0/3 nodes are available: 1 node(s) had untolerated taint {x: y}, 2 Insufficient "
            "nvidia.com/gpu. no new claims to deallocate, preemption: 0/3 nodes are available: "
            "3 Preemption is not helpful for scheduling."
        )
    )
    assert found is not None
    assert found.failure is USER
    assert found.message.startswith("it fits on no node: it asks for nvidia.com/gpu 8; 0/3 nodes")
    assert found.message.endswith("2 Insufficient nvidia.com/gpu")
    assert found.patience_s > 0


def test_what_does_not_fit_now_may_fit_later() -> None:
    found = pods.trouble(
        unscheduled(
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod."
        )
    )
    assert found is not None
    assert found.failure is ENVIRONMENT
    assert found.message.startswith("no node has room for it now: it asks for cpu 1;")


def test_an_unbound_claim_is_told_as_such() -> None:
    found = pods.trouble(
        unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    )
    assert found is not None
    assert (found.reason, found.failure) == ("UnboundClaim", ENVIRONMENT)


@pytest.mark.parametrize(
    ("reason", "says"),
    [("Evicted", "The node was low on resource: memory"), ("UnexpectedAdmissionError", "gpu")],
)
def test_a_pod_that_was_taken_away(reason: str, says: str) -> None:
    found = pods.trouble(pod(RUNNING, phase="Failed", reason=reason, message=f"{says}. "))
    assert found is not None
    assert (found.reason, found.failure) == (reason, ENVIRONMENT)
    assert says in found.message


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    "fine",
    [
        pod(conditions=()),
        pod(waiting("ContainerCreating")),
        pod(waiting("PodInitializing")),
        pod(RUNNING),
        pod(RUNNING, conditions=(SCHEDULED, READY), phase="Running"),
        pod(
            waiting("PodInitializing"),
            initContainerStatuses=[{"name": "fetch", "state": ended(0, "Completed")}],
        ),
        pod({"state": ended(0, "Completed")}, spec={"restartPolicy": "Never"}, phase="Succeeded"),
    ],
)
def test_a_pod_on_its_way_is_in_no_trouble(fine: dict[str, Any]) -> None:
    assert pods.trouble(fine) is None


def test_a_side_container_that_ends_is_a_trouble_and_so_is_a_failed_first_one() -> None:
    sidecar = {"name": "proxy", "state": ended(0, "Completed")}
    spec = {"initContainers": [{"name": "proxy", "image": "p", "restartPolicy": "Always"}]}
    found = pods.trouble(pod(RUNNING, spec=spec, initContainerStatuses=[sidecar]))
    assert found is not None
    assert found.container == "proxy"
    failed = {"name": "fetch", "state": ended(1)}
    assert pods.trouble(pod(RUNNING, initContainerStatuses=[failed])) is not None


def test_readiness_restarts_and_state_in_words() -> None:
    ready = pod(RUNNING | {"restartCount": 2}, conditions=(SCHEDULED, READY))
    assert pods.is_ready(ready)
    assert pods.state(ready) == "ready"
    assert pods.restarts(ready) == 2
    going = ready | {"metadata": ready["metadata"] | {"deletionTimestamp": "2026"}}
    assert not pods.is_ready(going)
    assert pods.state(going) == "ending"
    assert pods.state(pod(waiting("ContainerCreating"))) == "ContainerCreating"
    assert pods.state(pod(RUNNING)) == "running, not ready yet"
    assert pods.state(pod(conditions=())) == "waiting for a node"
    assert pods.state(pod({"state": ended(3)})) == "Error"
