"""What a pod answers to HTTP, asked through the API server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from llmatrix.cluster.connection import Connection


def through_pod(
    connection: Connection,
    pod: str,
    namespace: str,
    port: int,
    path: str,
    params: Mapping[str, str] | None = None,
) -> bytes | None:
    """Send a pod a GET; give the body of its answer, or None for a 404.

    Raises:
        ClusterFault: the pod does not answer; it is asked again for as long as we are patient.
    """
    where = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{quote(path)}"
    what = f"ask pod {namespace}/{pod} through the API server"
    response = connection.call("GET", where, what=what, params=params, absent_ok=True)
    return None if response is None else bytes(response.content)
