"""The rules by which calls are tried again, given up, and told; against a server in trouble."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Refused, Unreachable
from llmatrix.cluster.kinds import CONFIG_MAP

Script = Any  # of conftest.py, which is no module that a test may import
ONE = "/api/v1/namespaces/n/configmaps/a"


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
