"""The rules by which calls are tried again, given up, and told; against a server in trouble."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.api import Cluster, created_or_same
from llmatrix.cluster.faults import ClusterFault, Refused, Unreachable
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, POD
from llmatrix.cluster.labels import SPEC

Script = Any  # of conftest.py, which is no module that a test may import
ONE = "/api/v1/namespaces/n/configmaps/a"
ALL = "/api/v1/namespaces/n/configmaps"


def config_map(**annotations: str) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "n", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(api: Cluster, script: Script, status: int) -> None:
    script.answers[f"GET {ONE}"] = [(status, {"message": "busy"}), (200, {"data": {"x": "y"}})]
    assert api.get(CONFIG_MAP, "a", "n") == {"data": {"x": "y"}}
    assert len(script.asked) == 2


def test_a_broken_connection_is_made_again(api: Cluster, script: Script, drop: object) -> None:
    script.answers[f"GET {ONE}"] = [drop, (200, {})]
    assert api.get(CONFIG_MAP, "a", "n") == {}


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Refused), (401, Refused), (400, ClusterFault), (422, ClusterFault)]
)
def test_a_refusal_is_not_asked_again(
    api: Cluster, script: Script, status: int, kind: type[ClusterFault]
) -> None:
    script.answers[f"GET {ONE}"] = [(status, {"message": "no"})]
    with pytest.raises(kind, match="cannot read configmaps 'a' in namespace n: no"):
        api.get(CONFIG_MAP, "a", "n")
    assert len(script.asked) == 1


def test_patience_ends(api: Cluster, script: Script, drop: object) -> None:
    script.answers[f"GET {ONE}"] = [drop]
    with pytest.raises(Unreachable, match=r"the API server at http.* does not answer"):
        api.get(CONFIG_MAP, "a", "n")
    assert len(script.asked) > 2
    script.answers[f"GET {ONE}"] = [(503, {"message": "away"})]
    with pytest.raises(ClusterFault, match="away"):
        api.get(CONFIG_MAP, "a", "n")


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


def test_a_container_that_has_not_started_has_an_empty_log(api: Cluster, script: Script) -> None:
    path = "/api/v1/namespaces/n/pods/p/log"
    script.answers[f"GET {path}"] = [(400, {"message": "is waiting to start"})]
    assert api.log("p", "n") == ""
    script.answers[f"GET {path}"] = [(200, b"caf\xc3\xa9 \xff\n")]
    assert api.log("p", "n", container="c", previous=True) == "café \ufffd\n"
    assert script.asked[-1].params.items() >= {"container": "c", "previous": "true"}.items()


def test_what_was_made_from_the_same_is_adopted(api: Cluster, script: Script) -> None:
    there = (409, {"reason": "AlreadyExists", "message": "it exists"})
    script.answers[f"POST {ALL}"] = [there]
    script.answers[f"GET {ONE}"] = [(200, config_map(**{SPEC: "h1"}))]
    assert created_or_same(api, config_map(**{SPEC: "h1"}), SPEC) == config_map(**{SPEC: "h1"})
    with pytest.raises(ClusterFault, match="made from something else"):
        created_or_same(api, config_map(**{SPEC: "h2"}), SPEC)


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


def test_paths_of_kinds() -> None:
    assert POD.path() == "/api/v1/pods"
    assert NAMESPACE.path("ignored", "a") == "/api/v1/namespaces/a"
