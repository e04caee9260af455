"""Ends of logs, and logs that are followed; against a server that answers as a test writes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from llmatrix.cluster import logs
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.logs import PodGone, followed, tail

Script = Any  # of conftest.py, which is no module that a test may import
POD = "/api/v1/namespaces/n/pods/p"
LOG = f"{POD}/log"


def test_a_container_that_has_not_started_has_an_empty_log(api: Cluster, script: Script) -> None:
    script.answers[f"GET {LOG}"] = [(400, {"message": "is waiting to start"})]
    assert tail(api, "p", "n") == ""
    script.answers[f"GET {LOG}"] = [(200, b"caf\xc3\xa9 \xff\n")]
    assert tail(api, "p", "n", container="c", previous=True) == "café \ufffd\n"
    assert script.asked[-1].params.items() >= {"container": "c", "previous": "true"}.items()


def test_a_log_that_is_followed_goes_on_behind_its_last_line(
    api: Cluster, script: Script, drop: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_PAUSE_S", 0.0)
    one, two = b"2026-01-01T00:00:01.5Z one\n", b"2026-01-01T00:00:01.7Z two\n"
    waiting = (400, {"message": "is waiting to start"})
    script.answers[f"GET {LOG}"] = [waiting, (200, one), drop, (200, one + two)]
    runs = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
    over = {"containerStatuses": [{"name": "c", "state": {"terminated": {}}}]}
    script.answers[f"GET {POD}"] = [(200, {"status": each}) for each in (runs, runs, over)]
    assert list(followed(api, "p", "n", "c", threading.Event())) == ["one", "two"]
    asked = [each.params.get("sinceTime") for each in script.asked if each.path == LOG]
    assert asked == [None, None, "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.5Z"]


def test_a_log_of_no_pod_is_not_followed(api: Cluster) -> None:
    with pytest.raises(PodGone, match="pod n/p is gone"):
        list(followed(api, "p", "n", "c", threading.Event()))
    with pytest.raises(PodGone):
        logs.lines(api, "p", "n", "c")
