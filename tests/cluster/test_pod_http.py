"""What a pod answers through the API server; here one that answers as a test writes."""

from __future__ import annotations

from typing import Any

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.pod_http import through_pod

Script = Any  # of conftest.py, which is no module that a test may import


def test_the_answer_is_bytes_or_nothing(api: Cluster, script: Script) -> None:
    script.answers["GET /api/v1/namespaces/n/pods/p:80/proxy/a%20b"] = [(200, b"\x00\xff")]
    assert through_pod(api, "p", "n", 80, "a b", {"offset": "7"}) == b"\x00\xff"
    assert script.asked[0].params == {"offset": "7"}
    assert through_pod(api, "p", "n", 80, "else") is None
