"""How objects are asked for, made, changed and removed; against a server in trouble."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.api import Cluster, created_or_same
from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, POD
from llmatrix.cluster.labels import SPEC

Script = Any  # of conftest.py, which is no module that a test may import
ONE = "/api/v1/namespaces/n/configmaps/a"
ALL = "/api/v1/namespaces/n/configmaps"


def config_map(**annotations: str) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def test_what_is_not_there_is_none(api: Cluster) -> None:
    assert api.get(CONFIG_MAP, "a", "n") is None
    assert api.merge(CONFIG_MAP, "a", "n", {"data": {"x": None}}) is None
    assert api.delete(CONFIG_MAP, "a", "n") is False


def test_all_pages_are_read(api: Cluster, script: Script) -> None:
    def page(name: str, more: str) -> tuple[int, dict[str, Any]]:
        metadata = {"resourceVersion": "7", "continue": more}
        return 200, {"metadata": metadata, "items": [{"metadata": {"name": name}}]}

    script.answers[f"GET {ALL}"] = [page("a", "next"), page("b", "")]
    found, version = api.listed(CONFIG_MAP, "n", {"app": "x"})
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [
        ("ConfigMap", "a"),
        ("ConfigMap", "b"),
    ]
    assert version == "7"
    assert [each.params.get("continue") for each in script.asked] == [None, "next"]
    assert all(each.params["labelSelector"] == "app=x" for each in script.asked)


def test_metadata_of_all_is_asked_for_without_what_they_hold(api: Cluster, script: Script) -> None:
    one = {"kind": "PartialObjectMetadata", "metadata": {"name": "a"}}
    listed = {"metadata": {"resourceVersion": "7"}, "items": [one]}
    none = {"metadata": {"resourceVersion": "8"}, "items": None}  # seen of a real one
    script.answers[f"GET {ALL}"] = [(200, listed), (200, none)]
    (found,) = api.find_metadata(CONFIG_MAP, "n", {"app": "x"})
    assert (found["kind"], found["metadata"]["name"]) == ("ConfigMap", "a")
    assert api.find_metadata(CONFIG_MAP, "n", {"app": "x"}) == []
    assert "PartialObjectMetadataList" in script.asked[0].accept


def test_only_that_very_object_is_deleted(api: Cluster, script: Script) -> None:
    conflict = {"reason": "Conflict", "message": "the UID in the precondition differs"}
    script.answers[f"DELETE {ONE}"] = [(409, conflict)]
    assert api.delete(CONFIG_MAP, "a", "n", uid="old") is False
    (asked,) = script.asked
    assert asked.body["preconditions"] == {"uid": "old"}
    assert "gracePeriodSeconds" not in asked.body
    with pytest.raises(ClusterFault, match="differs"):
        api.delete(CONFIG_MAP, "a", "n")


def test_an_apply_is_ours_and_by_force(api: Cluster, script: Script) -> None:
    script.answers[f"PATCH {ONE}"] = [(200, {})]
    api.apply(config_map())
    (asked,) = script.asked
    assert asked.params == {"fieldManager": "llmatrix", "force": "true"}
    assert asked.body == config_map()


def test_what_was_made_from_the_same_is_adopted(api: Cluster, script: Script) -> None:
    there = (409, {"reason": "AlreadyExists", "message": "it exists"})
    script.answers[f"POST {ALL}"] = [there]
    script.answers[f"GET {ONE}"] = [(200, config_map(**{SPEC: "h1"}))]
    assert created_or_same(api, config_map(**{SPEC: "h1"}), SPEC) == config_map(**{SPEC: "h1"})
    with pytest.raises(ClusterFault, match="made from something else"):
        created_or_same(api, config_map(**{SPEC: "h2"}), SPEC)


def test_paths_of_kinds() -> None:
    assert POD.path() == "/api/v1/pods"
    assert NAMESPACE.path("ignored", "a") == "/api/v1/namespaces/a"
