"""Following objects through closed streams, old versions and broken connections."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from llmatrix.cluster import watching
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import POD
from llmatrix.cluster.watching import Seen, Wanted, following
from llmatrix.stacks.waiting import until

Script = Any  # of conftest.py, which is no module that a test may import
PODS = "/api/v1/namespaces/n/pods"
WANTED = Wanted(POD, "n", {"app": "x"})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FIRST_PAUSE_S", 0.01)


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def listing(version: int, *pods: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, {"metadata": {"resourceVersion": str(version)}, "items": list(pods)}


def event(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": document}


EXPIRED = {"code": 410, "reason": "Expired", "message": "too old resource version"}


def take(seen: queue.SimpleQueue[Seen | Exception]) -> Seen:
    one = seen.get(timeout=10)
    assert isinstance(one, Seen), one
    return one


def told(seen: queue.SimpleQueue[Seen | Exception]) -> tuple[dict[str, str], set[str]]:
    one = take(seen)
    versions = {name: each["metadata"]["resourceVersion"] for name, each in one.objects.items()}
    return versions, set(one.changed)


def watched_from(script: Script) -> list[str]:
    return [each.params["resourceVersion"] for each in script.asked if "watch" in each.params]


def test_every_change_gives_the_whole(api: Cluster, script: Script, hold: object) -> None:
    script.answers[f"GET {PODS}"] = [listing(5, pod("a", 3))]
    script.answers[f"WATCH {PODS}"] = [
        [
            event("ADDED", pod("b", 6)),
            event("MODIFIED", pod("a", 7)),
            event("DELETED", pod("b", 8)),
            hold,
        ]
    ]
    with following(api, WANTED) as seen:
        assert told(seen) == ({"a": "3"}, {"a"})
        assert told(seen) == ({"a": "3", "b": "6"}, {"b"})
        assert told(seen) == ({"a": "7", "b": "6"}, {"a"})
        assert told(seen) == ({"a": "7"}, {"b"})
    assert watched_from(script) == ["5"]
    assert all(each.params["labelSelector"] == "app=x" for each in script.asked)


def test_a_closed_stream_goes_on_where_it_ended(api: Cluster, script: Script, hold: object) -> None:
    script.answers[f"GET {PODS}"] = [listing(5)]
    script.answers[f"WATCH {PODS}"] = [
        [event("ADDED", pod("a", 6)), event("BOOKMARK", pod("", 9))],
        [event("ADDED", pod("b", 10)), hold],
    ]
    with following(api, WANTED) as seen:
        assert told(seen) == ({}, set())
        assert told(seen) == ({"a": "6"}, {"a"})
        assert told(seen) == ({"a": "6", "b": "10"}, {"b"})
    assert watched_from(script) == ["5", "9"]
    assert len(script.asked) == 3


@pytest.mark.parametrize("gone", [[event("ERROR", EXPIRED)], (410, EXPIRED)])
def test_a_version_too_old_is_listed_again(
    api: Cluster, script: Script, hold: object, gone: Any
) -> None:
    script.answers[f"GET {PODS}"] = [
        listing(5, pod("kept", 1), pod("changed", 2), pod("went", 3)),
        listing(90, pod("kept", 1), pod("changed", 80), pod("came", 85)),
    ]
    script.answers[f"WATCH {PODS}"] = [gone, [hold]]
    with following(api, WANTED) as seen:
        take(seen)
        versions, changed = told(seen)
        assert versions == {"kept": "1", "changed": "80", "came": "85"}
        assert changed == {"changed", "went", "came"}
        # Only then is it asked to go on from there.
        assert until(lambda: len(watched_from(script)) == 2, 10.0)
    assert watched_from(script) == ["5", "90"]


def test_a_broken_stream_is_told_and_mended(
    api: Cluster, script: Script, hold: object, drop: object
) -> None:
    script.answers[f"GET {PODS}"] = [listing(5, pod("a", 1)), listing(8, pod("a", 7))]
    script.answers[f"WATCH {PODS}"] = [[event("MODIFIED", pod("a", 6)), drop], [hold]]
    with following(api, WANTED) as seen:
        assert told(seen) == ({"a": "1"}, {"a"})
        assert told(seen) == ({"a": "6"}, {"a"})
        away = take(seen)
        assert "cannot watch pods in namespace n" in away.away
        assert set(away.objects) == {"a"}
        assert told(seen) == ({"a": "7"}, {"a"})


def test_a_server_that_is_away_is_told_and_asked_again(
    api: Cluster, script: Script, hold: object
) -> None:
    api.patience_s = 0.0
    script.answers[f"GET {PODS}"] = [(503, {"message": "starting"}), listing(5, pod("a", 1))]
    script.answers[f"WATCH {PODS}"] = [[hold]]
    with following(api, WANTED) as seen:
        assert "starting" in take(seen).away
        assert told(seen) == ({"a": "1"}, {"a"})


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (401, Refused), (404, ClusterFault)])
def test_what_waiting_cannot_mend_is_given_as_it_is(
    api: Cluster, script: Script, status: int, kind: type[Exception]
) -> None:
    script.answers[f"GET {PODS}"] = [(status, {"message": "no"})]
    with following(api, WANTED) as seen:
        assert isinstance(seen.get(timeout=10), kind)
    assert len(script.asked) == 1


def test_several_kinds_come_into_one_queue(api: Cluster, script: Script, hold: object) -> None:
    other = Wanted(POD, "m", {})
    script.answers[f"GET {PODS}"] = [listing(5)]
    script.answers["GET /api/v1/namespaces/m/pods"] = [listing(6)]
    script.answers[f"WATCH {PODS}"] = [[hold]]
    script.answers["WATCH /api/v1/namespaces/m/pods"] = [[hold]]
    with following(api, WANTED, other) as seen:
        namespaces = {take(seen).wanted.namespace, take(seen).wanted.namespace}
    assert namespaces == {"n", "m"}
