"""What only events tell, as controllers write them."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster import pod_events
from llmatrix.errors import FailureClass

USER, ENVIRONMENT = FailureClass.USER, FailureClass.ENVIRONMENT


def event(reason: str, message: str, kind: str = "Pod", name: str = "server-0") -> dict[str, Any]:
    return {
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": kind, "name": name, "uid": "u"},
    }


QUOTA = (
    'create Pod server-0 in StatefulSet server failed error: pods "server-0" is forbidden: '
    "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu={used}, "
    "limited: requests.cpu={limit}"
)


@pytest.mark.parametrize(
    ("given", "failure", "says"),
    [
        (
            event(
                "FailedCreate",
                'pods "server-0" is forbidden: violates PodSecurity "restricted:latest": '
                "privileged (container must not set securityContext.privileged=true)",
                "StatefulSet",
                "server",
            ),
            USER,
            "its pods are refused",
        ),
        (
            event("FailedCreate", QUOTA.format(used=3, limit="4"), "StatefulSet", "server"),
            ENVIRONMENT,
            "exceeded quota",
        ),
        (
            event("FailedCreate", QUOTA.format(used=0, limit="1500m"), "StatefulSet", "server"),
            USER,
            "exceeded quota",
        ),
        (
            event("FailedCreate", 'error looking up service account x/default: serviceaccount "d"'),
            ENVIRONMENT,
            "service account",
        ),
        (
            event("FailedMount", 'MountVolume.SetUp failed: configmap "nope" not found'),
            USER,
            'configmap "nope" not found',
        ),
        (event("FailedMount", "timed out waiting for the condition"), ENVIRONMENT, "timed out"),
        (event("FailedCreatePodSandBox", "no network"), ENVIRONMENT, "no network"),
        (
            event(
                "ProvisioningFailed",
                'storageclass.storage.k8s.io "nope" not found',
                "PersistentVolumeClaim",
                "weights",
            ),
            USER,
            "no volume can be made",
        ),
    ],
)
def test_what_an_event_tells(given: dict[str, Any], failure: FailureClass, says: str) -> None:
    found = pod_events.event_trouble(given)
    assert found is not None
    assert found.failure is failure
    assert says in found.message
    assert found.about.endswith(given["involvedObject"]["name"])


@pytest.mark.parametrize(
    "fine",
    [
        event("Scheduled", "Successfully assigned"),
        event("Unhealthy", "Readiness probe failed"),
        event("FailedBinding", "waiting for first consumer to be created before binding"),
    ],
)
def test_what_is_no_trouble(fine: dict[str, Any]) -> None:
    assert pod_events.event_trouble(fine) is None


def test_a_node_on_its_way_is_known() -> None:
    assert pod_events.grows(event("TriggeredScaleUp", "pod triggered scale-up"))
    assert pod_events.grows(event("Nominated", "Pod should schedule on: nodeclaim/x"))
    assert not pod_events.grows(event("NotTriggerScaleUp", "no"))


def at(second: int, given: dict[str, Any]) -> dict[str, Any]:
    return given | {"lastTimestamp": f"2026-01-01T00:00:{second:02}Z"}


def test_what_a_pod_got_past_is_no_trouble_any_more() -> None:
    failed = event("FailedMount", "timed out waiting for the condition")
    assert len(pod_events.troubles([at(5, failed)])) == 1
    assert pod_events.troubles([at(5, failed), at(9, event("Pulling", "image"))]) == []
    assert (
        len(pod_events.troubles([at(3, event("SuccessfulAttachVolume", "")), at(5, failed)])) == 1
    )
    other = at(9, event("Pulling", "image"))
    other["involvedObject"] = other["involvedObject"] | {"uid": "another"}
    assert len(pod_events.troubles([at(5, failed), other])) == 1


def test_an_event_of_a_series_is_as_old_as_its_last() -> None:
    series = {"count": 9, "lastObservedTime": "2026-01-01T00:00:30.123456Z"}
    failed = event("FailedMount", "timed out") | {"series": series, "eventTime": "2026-01-01T00"}
    assert len(pod_events.troubles([failed, at(20, event("Pulled", ""))])) == 1
    assert pod_events.troubles([failed, at(40, event("Pulled", ""))]) == []
