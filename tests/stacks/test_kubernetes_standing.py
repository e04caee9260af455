"""How pods that stood once ended: told from their status, and from events where they are gone."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.stacks.kubernetes_standing import ending
from llmatrix.stacks.site_state import Stood

STOOD = Stood("u1", 0, "10.0.0.1")


def pod(*, restarts: int = 0, last: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    running = {"name": "server", "state": {"running": {}}, "restartCount": restarts, **(last or {})}
    found = {"containerStatuses": [running], **status}
    return {"metadata": {"name": "server-0", "uid": "u1"}, "spec": {}, "status": found}


def event(reason: str, message: str, uid: str = "u1") -> dict[str, Any]:
    return {"involvedObject": {"uid": uid}, "reason": reason, "message": message}


def test_a_pod_that_stands_has_not_ended() -> None:
    assert ending("server-0", STOOD, pod(), ()) == ""
    assert ending("server-0", Stood("u1", 1, ""), pod(restarts=1), ()) == ""


def test_a_container_that_was_killed_for_memory_and_started_again_is_told() -> None:
    killed = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    assert ending("server-0", STOOD, pod(restarts=1, last=killed), ()) == (
        "pod server-0: container server was killed for using more memory than it may (OOMKilled)"
    )
    assert ending("server-0", Stood("u1", 1, ""), pod(restarts=1, last=killed), ()) == ""
    assert ending("server-0", STOOD, pod(restarts=1), ()) == (
        "a container of pod server-0 was started again"
    )


def test_a_pod_that_its_node_evicted_is_told() -> None:
    message = "The node was low on resource: memory."
    lying = [{"name": "server", "state": {"terminated": {"exitCode": 137}}, "restartCount": 0}]
    evicted = pod(phase="Failed", reason="Evicted", message=message, containerStatuses=lying)
    assert ending("server-0", STOOD, evicted, ()) == (
        "pod server-0: it was taken away: The node was low on resource: memory"
    )


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], "pod server-0 is gone"),
        ([event("Evicted", "low on memory", uid="other")], "pod server-0 is gone"),
        ([event("Killing", "Stopping container")], "pod server-0 is gone"),
        (
            [event("Killing", "Stopping"), event("Preempted", "Preempted by pod x on node n.")],
            "pod server-0 is gone: Preempted by pod x on node n (Preempted)",
        ),
        (
            [event("TaintManagerEviction", "Marking for deletion Pod b/server-0")],
            "pod server-0 is gone: Marking for deletion Pod b/server-0 (TaintManagerEviction)",
        ),
    ],
)
def test_a_pod_that_is_gone_is_told_by_its_events(events: list[Any], told: str) -> None:
    assert ending("server-0", STOOD, None, events) == told
