"""Kinds of objects, asked of the API server; against one that answers as a test writes."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.discovery import serves, version
from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import CONFIG_MAP, POD, Kind

Script = Any  # of conftest.py, which is no module that a test may import


def test_kinds_that_are_not_ours_are_discovered_once(api: Cluster, script: Script) -> None:
    resources = [
        {"name": "things", "kind": "Thing", "namespaced": True},
        {"name": "things/status", "kind": "Thing", "namespaced": True},
    ]
    script.answers["GET /apis/x.io/v1"] = [(200, {"resources": resources})]
    thing = {"apiVersion": "x.io/v1", "kind": "Thing"}
    assert api.kind_of(thing).path("n", "a") == "/apis/x.io/v1/namespaces/n/things/a"
    assert api.kind_of(thing).resource == "things.x.io"
    assert len(script.asked) == 1
    with pytest.raises(ClusterFault, match="no objects of kind Other"):
        api.kind_of({"apiVersion": "x.io/v1", "kind": "Other"})


def test_which_kinds_are_served(api: Cluster, script: Script) -> None:
    script.answers["GET /api/v1"] = [(200, {"resources": [{"name": "pods"}]})]
    thing = Kind("x.io", "v1", "things", "Thing")
    assert [serves(api, kind) for kind in (POD, CONFIG_MAP, thing)] == [True, False, False]
    assert [each.path for each in script.asked] == ["/api/v1", "/api/v1", "/apis/x.io/v1"]


def test_the_version_is_what_it_calls_itself(api: Cluster, script: Script) -> None:
    script.answers["GET /version"] = [(200, {"gitVersion": "v1.34.4"})]
    assert version(api) == "v1.34.4"
