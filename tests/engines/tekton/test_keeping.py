"""Sites that are left standing on purpose: by the end of a lane, and by the end of a run.

On a real cluster the same is shown in tests/e2e/test_keep.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import CONFIG_MAP, NAMESPACE, PIPELINE_RUN, Kind, Object
from llmatrix.engines.tekton.lane import Lane
from llmatrix.engines.tekton.leaving import end_kept, leave
from llmatrix.plan.step import Step
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.steps.events import Event, Warned
from llmatrix.steps.lane_orders import LaneOrders
from stacks.addresses import OWN

HOME = "bench"
KEEP = {labels.KEEP: "true"}
ADDRESS = replace(OWN, name="e-0", namespace="e-0", run="r1", home=HOME, account="llmatrix")
SHARED = replace(ADDRESS, namespace=HOME, own_namespace=False)


class Standing:
    """A cluster as far as it is asked here: objects by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str | None, str], Object] = {}

    def add(self, kind: Kind, namespace: str | None, name: str, marks: Mapping[str, str]) -> None:
        metadata = {"name": name, "namespace": namespace, "uid": name, "labels": dict(marks)}
        metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
        self.objects[kind, namespace, name] = {"metadata": metadata, "spec": {}}

    def add_site(self, address: SiteAddress, **more: str) -> None:
        marks = {**address.labels(), labels.STEP: Step.NAMESPACE.value, **more}
        if address.own_namespace:
            self.add(NAMESPACE, None, address.namespace, marks)
        self.add(CONFIG_MAP, address.namespace, address.object_name("site"), marks)

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        return self.objects.get((kind, namespace, name))

    def metadata(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        found = self.get(kind, name, namespace)
        return None if found is None else found["metadata"]

    def find(
        self, kind: Kind, namespace: str | None, wanted: Mapping[str, str | None]
    ) -> list[Object]:
        return [
            each
            for (of, where, _), each in self.objects.items()
            if (of, where) == (kind, namespace) and _has(each, wanted)
        ]

    find_metadata = find

    def merge(self, kind: Kind, name: str, namespace: str | None, change: Object) -> Object | None:
        found = self.get(kind, name, namespace)
        if found is not None:
            found["metadata"]["labels"] |= change["metadata"]["labels"]
        return found

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str,
        owned_first: bool = False,
    ) -> bool:
        assert uid == name
        assert not (owned_first and kind is NAMESPACE)
        if kind is NAMESPACE:
            self.objects = {key: it for key, it in self.objects.items() if key[1] != name}
        return self.objects.pop((kind, namespace, name), None) is not None

    def kept(self, address: SiteAddress) -> bool:
        """Tell whether the site stands and is marked where it is found by."""
        if address.own_namespace:
            found = self.get(NAMESPACE, address.namespace)
        else:
            found = self.get(CONFIG_MAP, address.object_name("site"), HOME)
        return found is not None and labels.KEEP in found["metadata"]["labels"]

    def names(self) -> set[str]:
        return {name for _, _, name in self.objects}


def _has(document: Object, wanted: Mapping[str, str | None]) -> bool:
    marks = document["metadata"]["labels"]
    return all(key in marks and value in (None, marks[key]) for key, value in wanted.items())


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest.fixture
def finish(standing: Standing, tmp_path: Path) -> Callable[..., int]:
    """End a lane whose PipelineRun has these labels: ``finish(address, marks, status, fresh)``."""

    def end(
        address: SiteAddress, marks: Mapping[str, str], status: str = "", *, fresh: bool = False
    ) -> int:
        standing.add(PIPELINE_RUN, HOME, "run", marks)
        standing.objects[PIPELINE_RUN, HOME, "run"]["spec"] = {"status": status}
        orders = LaneOrders(address, str(tmp_path), retries=0, fresh=fresh)
        lane = Lane(cast("Cluster", standing), orders, "run", "", tmp_path)
        return lane.finish(threading.Event())

    return end


@pytest.mark.parametrize("address", [ADDRESS, SHARED])
def test_the_end_of_a_lane_leaves_the_site_if_it_was_told_to(
    standing: Standing, finish: Callable[..., int], address: SiteAddress
) -> None:
    standing.add_site(address)
    assert finish(address, KEEP) == 0
    assert standing.kept(address)


@pytest.mark.parametrize(("marks", "status"), [({}, ""), (KEEP, "CancelledRunFinally")])
def test_else_it_takes_the_site_down(
    standing: Standing, finish: Callable[..., int], marks: dict[str, str], status: str
) -> None:
    standing.add_site(ADDRESS)
    assert finish(ADDRESS, marks, status) == 0
    assert standing.names() == {"run"}


def test_what_is_not_ours_is_not_marked(standing: Standing, finish: Callable[..., int]) -> None:
    standing.add(NAMESPACE, None, ADDRESS.namespace, {"of": "somebody"})
    assert finish(ADDRESS, KEEP) == 0
    assert not standing.kept(ADDRESS)
    assert ADDRESS.namespace in standing.names()


@pytest.mark.parametrize(("keep", "left"), [(True, {"kept"}), (False, set[str]())])
def test_the_end_of_a_run_takes_down_all_but_what_was_kept(
    standing: Standing,
    plan_of: Any,
    settings_of: Any,
    keep: bool,  # noqa: FBT001
    left: set[str],
) -> None:
    standing.add_site(replace(ADDRESS, name="kept", namespace="kept"), **KEEP)
    standing.add_site(replace(ADDRESS, name="lost", namespace="lost"))
    events: list[Event] = []
    settings = settings_of(plan_of())
    cluster = cast("Cluster", standing)
    assert leave(cluster, settings, "e", events.append, keep=keep) == []
    assert {name for kind, _, name in standing.objects if kind is NAMESPACE} == left
    told = [each.message for each in events if isinstance(each, Warned)]
    assert any("kept up until they expire: kept" in each for each in told) is keep


def test_what_was_kept_makes_room_for_the_next_run(standing: Standing) -> None:
    other = replace(ADDRESS, name="f-0", namespace="f-0", experiment="f")
    standing.add_site(ADDRESS, **KEEP)
    standing.add_site(replace(ADDRESS, name="lost", namespace="lost"))
    standing.add_site(other, **KEEP)
    said: list[str] = []
    end_kept(cast("Cluster", standing), HOME, "e", said.append)
    assert said == ["taking down what was kept: e-0."]
    assert {name for kind, _, name in standing.objects if kind is NAMESPACE} == {"lost", "f-0"}
