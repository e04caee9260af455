"""Sites in a shared namespace: all that they are made of is found, and their record goes last.

On a real cluster the same is shown in tests/e2e/test_llmd_gateway.py.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, cast

import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.facts import GATEWAY, INFERENCE_POOL
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, SERVICE, Kind, Object
from llmatrix.engines.tekton.sites import find_sites, remove
from llmatrix.plan.step import Step
from llmatrix.stacks.site_state import with_kinds

HOME = "bench"


class Standing:
    """What stands on a cluster, by kind and name; what was asked and removed, in order."""

    def __init__(self, refused: Mapping[Kind, ClusterFault] | None = None) -> None:
        self.objects: dict[tuple[Kind, str], Object] = {}
        self.refused = dict(refused or {})
        self.asked: list[Kind] = []
        self.removed: list[str] = []

    def add(self, kind: Kind, name: str, site: str, step: Step, **more: Any) -> None:
        marks = {
            labels.MANAGED_BY: labels.OURS,
            labels.SITE: site,
            labels.HOME: HOME,
            labels.STEP: step.value,
        }
        metadata = {"name": name, "namespace": HOME, "uid": name, "labels": marks}
        self.objects[kind, name] = {"metadata": metadata, **more}

    def add_site(self, site: str) -> None:
        kinds = {key: text for key, text in with_kinds([GATEWAY, INFERENCE_POOL]).items() if text}
        self.add(CONFIG_MAP, f"{site}-site", site, Step.NAMESPACE, data=kinds)
        self.add(CONFIG_MAP, f"{site}-picker", site, Step.ROUTER)
        self.add(SERVICE, f"{site}-server", site, Step.SERVER)
        self.add(INFERENCE_POOL, f"{site}-picker", site, Step.ROUTER)
        self.add(GATEWAY, f"{site}-gate", site, Step.GATEWAY)

    def find(self, kind: Kind, namespace: str | None, _: object) -> list[Object]:
        assert (namespace == HOME) is kind.namespaced
        self.asked.append(kind)
        if kind in self.refused:
            raise self.refused[kind]
        return [each for (of, _), each in self.objects.items() if of == kind]

    def delete(self, kind: Kind, name: str, namespace: str, *, uid: str, owned_first: bool) -> bool:
        assert (namespace, uid) == (HOME, name)
        assert owned_first  # its pods are gone when it is
        if kind in self.refused:
            raise self.refused[kind]
        del self.objects[kind, name]
        self.removed.append(name)
        return True

    def metadata(self, kind: Kind, name: str, _: str) -> Object | None:
        found = self.objects.get((kind, name))
        return None if found is None else found["metadata"]


@pytest.fixture
def standing() -> Standing:
    made = Standing()
    for site in ("a", "b"):
        made.add_site(site)
    return made


def removal(standing: Standing) -> list[str]:
    cluster = cast("Cluster", standing)
    pieces = [piece for site in find_sites(cluster, HOME, {}).sites for piece in site.pieces]
    return remove(cluster, pieces, 5.0, stop=threading.Event())


def test_kinds_that_only_some_stacks_make_are_found_by_the_record(standing: Standing) -> None:
    first, second = find_sites(cast("Cluster", standing), HOME, {}).sites
    assert (first.name, second.name) == ("a", "b")
    assert sorted(map(str, first.pieces)) == [
        "ConfigMap bench/a-picker",
        "ConfigMap bench/a-site",
        "Gateway bench/a-gate",
        "InferencePool bench/a-picker",
        "Service bench/a-server",
    ]
    assert standing.asked.count(GATEWAY) == 1


def test_kinds_that_no_site_has_on_record_are_not_asked_for() -> None:
    alone = Standing()
    alone.add(CONFIG_MAP, "a-site", "a", Step.NAMESPACE)
    assert len(find_sites(cast("Cluster", alone), HOME, {}).sites) == 1
    assert NAMESPACE in alone.asked
    assert GATEWAY not in alone.asked


def test_a_record_that_is_not_of_this_home_names_nothing(standing: Standing) -> None:
    for (_, name), each in standing.objects.items():
        if name.endswith("-site"):
            each["metadata"]["labels"][labels.HOME] = "elsewhere"
    find_sites(cast("Cluster", standing), HOME, {})
    assert GATEWAY not in standing.asked


def test_a_kind_whose_definition_is_gone_is_not_there(standing: Standing) -> None:
    standing.refused[GATEWAY] = ClusterFault("no such kind", status=404)
    found = find_sites(cast("Cluster", standing), HOME, {})
    assert [len(site.pieces) for site in found.sites] == [4, 4]
    assert found.unseen == ()


def test_the_records_go_last(standing: Standing) -> None:
    assert removal(standing) == []
    assert standing.objects == {}
    assert set(standing.removed[-2:]) == {"a-site", "b-site"}


def test_a_record_stays_with_what_does_not_go(standing: Standing) -> None:
    """Or nobody would find it again."""
    standing.objects.pop((INFERENCE_POOL, "b-picker"))
    cluster = cast("Cluster", standing)
    found = find_sites(cluster, HOME, {}).sites
    standing.refused[INFERENCE_POOL] = Refused("not you")
    pieces = [piece for site in found for piece in site.pieces]
    (told,) = remove(cluster, pieces, 5.0, stop=threading.Event())
    assert told == "InferencePool bench/a-picker: not you"
    assert {name for _, name in standing.objects} == {"a-picker", "a-site"}
