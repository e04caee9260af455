"""Following objects on the real API server, also over what it has forgotten."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from llmatrix.cluster import watching
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import Gone
from llmatrix.cluster.kinds import CONFIG_MAP, POD, Object
from llmatrix.cluster.watching import Seen, Wanted, following

MARK = {"followed": "yes"}


@pytest.fixture
def api(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubectl.kubeconfig))
    with Cluster.connect() as connected:
        yield connected


def config_map(namespace: str, name: str, value: str = "") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MARK)},
        "data": {"value": value},
    }


def values(seen: Seen) -> dict[str, str]:
    return {name: each["data"]["value"] for name, each in seen.objects.items()}


def come_to(events: queue.SimpleQueue[Seen | Exception], wanted: dict[str, str]) -> Seen:
    """Take what comes until it is so."""
    while True:
        seen = events.get(timeout=60)
        assert isinstance(seen, Seen), seen
        if values(seen) == wanted:
            return seen


def test_what_is_made_changed_and_deleted_is_seen(api: Cluster, namespace: Any) -> None:
    here = namespace.name
    api.create(config_map(here, "first", "1"))
    with following(api, Wanted(CONFIG_MAP, here, MARK)) as events:
        assert come_to(events, {"first": "1"}).changed == {"first"}
        api.create(config_map(here, "second", "2"))
        come_to(events, {"first": "1", "second": "2"})
        api.apply(config_map(here, "first", "3"))
        come_to(events, {"first": "3", "second": "2"})
        api.delete(CONFIG_MAP, "second", here)
        come_to(events, {"first": "3"})


def test_streams_that_the_server_closes_lose_nothing(
    api: Cluster, namespace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SERVER_TIMEOUT_S", 1)
    here, wanted = namespace.name, {}
    with following(api, Wanted(CONFIG_MAP, here, MARK)) as events:
        for number in range(12):
            name, wanted[f"n{number}"] = f"n{number}", str(number)
            api.create(config_map(here, name, str(number)))
            come_to(events, wanted)


def test_a_version_that_the_server_has_forgotten_is_refused(api: Cluster, namespace: Any) -> None:
    """A watch from the first version of all: compacted away on any cluster that is in use."""
    wanted = Wanted(POD, namespace.name, {})
    with pytest.raises(Gone), watching.events(api, wanted, "1", timeout_s=5) as events:
        list(events)


def test_after_a_forgotten_version_it_is_listed_again(
    api: Cluster, namespace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = namespace.name
    for name in ("kept", "went"):
        api.create(config_map(here, name))
    lists = 0
    real = api.listed

    def listed(*words: Any) -> tuple[list[Object], str]:
        """List as ever, but say the first time that it is as it was long ago."""
        nonlocal lists
        lists += 1
        found, version = real(*words)
        if lists > 1:
            return found, version
        api.delete(CONFIG_MAP, "went", here)
        api.create(config_map(here, "came"))
        return found, "1"

    monkeypatch.setattr(api, "listed", listed)
    with following(api, Wanted(CONFIG_MAP, here, MARK)) as events:
        come_to(events, {"kept": "", "went": ""})
        assert come_to(events, {"kept": "", "came": ""}).changed >= {"came"}
        api.create(config_map(here, "last"))
        come_to(events, {"kept": "", "came": "", "last": ""})
    assert lists > 1
