"""A site on a cluster: made, adopted, recorded, removed, and never somebody else's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from e2e.sites import (
    account,
    admin,
    apart,
    home,
    make_site,
    nobody_stops,
    own,
    rights,
    role,
    shared,
    site,
)
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, Object
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.step import Step
from llmatrix.stacks import kubernetes_namespace, kubernetes_objects, kubernetes_removal
from llmatrix.stacks.kubernetes_site import KubernetesSite

__all__ = [
    "account",
    "admin",
    "apart",
    "home",
    "make_site",
    "own",
    "rights",
    "role",
    "shared",
    "site",
]


def test_other_kinds_are_put_on_record_and_removed(
    shared: KubernetesSite, admin: Cluster, account: Cluster
) -> None:
    shared.prepare(nobody_stops())
    shared.cluster = admin  # a stack that makes other kinds has other rights, too
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": shared.address.object_name("odd")},
    }
    kubernetes_objects.put(shared, Step.MODEL, [lease], nobody_stops())
    assert [kind.name for kind in shared.state().kinds()] == ["Lease"]
    assert shared.clear() == []
    assert admin.find(admin.kind_of(lease), shared.namespace) == []
    del account


def test_a_namespace_that_is_not_ours_is_left_alone(
    apart: KubernetesSite, make_namespace: Callable[..., Any], admin: Cluster, role: str
) -> None:
    theirs = make_namespace({"team": "theirs"}).name
    address = dataclasses.replace(apart.address, name=theirs, namespace=theirs)
    site = KubernetesSite(apart.cluster, address, apart.folder, site_role=role)
    before = admin.get(NAMESPACE, theirs)
    with pytest.raises(StepFailure, match=f"{theirs} is there and is not of this site") as caught:
        site.prepare(nobody_stops())
    assert caught.value.failure is FailureClass.USER
    assert site.claimed(Step.NAMESPACE) is None
    assert not site.stands()
    assert site.clear() == []
    assert site.remove() == []
    assert admin.get(NAMESPACE, theirs) == before


def test_a_namespace_of_another_site_of_ours_is_left_alone(
    apart: KubernetesSite, admin: Cluster, role: str
) -> None:
    apart.prepare(nobody_stops())
    address = dataclasses.replace(apart.address, name="another")
    another = KubernetesSite(apart.cluster, address, apart.folder, site_role=role)
    with pytest.raises(StepFailure, match="not of this site"):
        another.prepare(nobody_stops())
    assert another.remove() == []
    assert admin.get(NAMESPACE, apart.namespace) is not None


def test_a_namespace_on_its_way_out_is_waited_for(apart: KubernetesSite, admin: Cluster) -> None:
    apart.prepare(nobody_stops())
    first = admin.get(NAMESPACE, apart.namespace)
    assert first is not None
    admin.delete(NAMESPACE, apart.namespace)
    assert not apart.stands()
    apart.prepare(nobody_stops())
    second = admin.get(NAMESPACE, apart.namespace)
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert apart.stands()


def test_a_site_taken_over_is_given_a_later_end(apart: KubernetesSite, admin: Cluster) -> None:
    apart.prepare(nobody_stops())
    apart.claim(Step.ROUTER, "kept")
    later = dataclasses.replace(apart.address, expires=apart.address.expires + 1000, run="second")
    apart.address = later
    apart.prepare(nobody_stops())
    found = admin.get(NAMESPACE, apart.namespace)
    assert found is not None
    assert found["metadata"]["labels"].items() >= later.labels().items()
    assert apart.claimed(Step.ROUTER) == "kept"


def test_what_holds_a_namespace_is_told(
    apart: KubernetesSite, admin: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart.prepare(nobody_stops())
    held = _held(apart, "held")
    admin.create(held)
    monkeypatch.setattr(kubernetes_namespace, "GOES_S", 12.0)
    (left,) = apart.remove()
    assert apart.namespace in left
    assert "llmatrix.dev/held" in left
    admin.merge(CONFIG_MAP, "held", apart.namespace, {"metadata": {"finalizers": None}})
    assert apart.remove() == []


def test_what_holds_an_object_is_told(
    shared: KubernetesSite, admin: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.prepare(nobody_stops())
    admin.create(_held(shared, "held"))
    monkeypatch.setattr(kubernetes_removal, "GOES_S", 3.0)
    (left,) = shared.remove()
    assert f"ConfigMap {shared.namespace}/held (held by its finalizers: llmatrix.dev/held)" in left
    assert shared.stands()
    admin.merge(CONFIG_MAP, "held", shared.namespace, {"metadata": {"finalizers": None}})
    assert shared.remove() == []


def _held(site: KubernetesSite, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": site.namespace,
            "labels": site.labels(Step.MODEL),
            "finalizers": ["llmatrix.dev/held"],
        },
    }


def test_an_account_without_rights_is_told_which(
    make_site: Callable[..., KubernetesSite], admin: Cluster
) -> None:
    site = make_site(True)
    with pytest.raises(StepFailure, match='cannot get resource "namespaces"') as caught:
        site.prepare(nobody_stops())
    assert caught.value.failure is FailureClass.USER
    site = make_site(False)
    with pytest.raises(StepFailure, match='cannot get resource "configmaps"') as caught:
        site.prepare(nobody_stops())
    assert caught.value.failure is FailureClass.USER
    assert admin.find(CONFIG_MAP, site.namespace, {labels.SITE: None}) == []


def test_keys_outlive_the_process_and_what_was_measured_lives_with_its_files(
    site: KubernetesSite, role: str
) -> None:
    assert site.claimed(Step.SERVER) is None
    site.disclaim(Step.SERVER)
    with pytest.raises(StepFailure, match="is gone"):
        site.claim(Step.SERVER, "a")
    site.claim(Step.WORKLOAD, "w")  # an endpoint has no site of ours, yet it is measured
    site.prepare(nobody_stops())
    site.claim(Step.SERVER, "a")
    site.claim(Step.ROUTER, "b")
    site.disclaim(Step.ROUTER)
    again = KubernetesSite(site.cluster, site.address, site.folder, site_role=role)
    assert again.claimed(Step.SERVER) == "a"
    assert again.claimed(Step.ROUTER) is None
    assert again.claimed(Step.WORKLOAD) == "w"
    elsewhere = KubernetesSite(site.cluster, site.address, site.folder / "x", site_role=role)
    assert elsewhere.claimed(Step.WORKLOAD) is None
    assert again.clear() == []
    assert again.claimed(Step.SERVER) is None
    assert again.claimed(Step.WORKLOAD) == "w"
