"""`run --keep` on a real cluster: what stands after the run, how it is told, and how it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.runs import Field, ground
from e2e.sites import admin
from llmatrix.cluster.kinds import PIPELINE_RUN, POD, SERVICE
from llmatrix.cluster.labels import MANAGED_BY, OURS, SITE, STEP
from llmatrix.cluster.pods import is_ready
from llmatrix.engines.tekton.sites import StandingSite, find_sites

__all__ = ["admin", "ground"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
EXPERIMENT: dict[str, Any] = {
    "name": "kept",
    "model": {"name": "Qwen/Qwen3-0.6B"},
    "stack": {"kind": "simulated"},
    "workload": {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 10},
        "warmup": 0,
        "duration": "2s",
    },
    "matrix": {"workload.output_len": [4, 5]},
}


@pytest.fixture(autouse=True)
def cleared(ground: Field) -> Iterator[None]:
    """Leave nothing up, whatever fails."""
    yield
    ground.done("cancel", str(ground.file))


def sites(ground: Field) -> list[StandingSite]:
    return list(find_sites(ground.cluster, ground.home, {}).sites)


@pytest.mark.parametrize("namespaced", [False, True], ids=["a namespace each", "namespaced"])
def test_the_last_deployment_serves_on_until_it_is_told_to_go(
    ground: Field,
    namespaced: bool,  # noqa: FBT001
) -> None:
    ground.document["run"]["cluster"]["namespaced"] = namespaced
    ground.done("run", str(ground.file), "--keep")
    assert len(ground.records()) == 2
    (site,) = sites(ground)
    assert site.kept
    assert f"kept up until they expire: {site.name}" in ground.log()
    where = ground.home if namespaced else site.name
    servers = ground.cluster.find(POD, where, {SITE: site.name, STEP: "server"})
    assert servers
    assert all(is_ready(pod) for pod in servers)
    assert ground.cluster.find(SERVICE, where, {SITE: site.name})
    assert ground.cluster.find(PIPELINE_RUN, ground.home, {MANAGED_BY: OURS}) == []

    ground.done("status", str(ground.file))
    assert f"site {site.name} is kept up" in ground.log()
    ground.done("gc", "--namespace", ground.home)
    assert f"site {site.name}: kept up; with --kept it goes now" in ground.log()
    assert [each.name for each in sites(ground)] == [site.name]
    ground.done("gc", "--namespace", ground.home, "--kept")
    assert f"removed site {site.name}" in ground.log()
    ground.nothing_left()


def test_the_next_run_has_its_room_and_cancel_ends_it(ground: Field) -> None:
    ground.done("run", str(ground.file), "--keep")
    (first,) = sites(ground)
    ground.document["matrix"]["workload.output_len"].append(6)
    ground.done("run", str(ground.file), "--keep")
    (second,) = sites(ground)
    assert second.name != first.name
    assert f"taking down what was kept: {first.name}" in ground.log()
    assert len(ground.records()) == 3
    ground.done("cancel", str(ground.file))
    ground.nothing_left()
