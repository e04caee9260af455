"""Logs of containers: their ends, and all of them as they are written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.connection import Connection
from llmatrix.cluster.faults import ClusterFault, Unreachable
from llmatrix.cluster.kinds import POD

MOST_LINES: Final = 20_000
_MOST_BYTES: Final = 256 * 1024
_QUIET_S: Final = 10.0
"""After which a log that is followed counts as broken."""
_PAUSE_S: Final = 0.7


class PodGone(ClusterFault):
    """The pod is not there any more, and its logs with it."""


def tail(
    connection: Connection,
    pod: str,
    namespace: str,
    *,
    container: str | None = None,
    most: int = 400,
    previous: bool = False,
) -> str:
    """Give the last lines of a container's log; "" if it has none (yet, or any more)."""
    params = {"tailLines": str(most), "limitBytes": str(_MOST_BYTES)}
    params |= {"container": container} if container else {}
    params |= {"previous": "true"} if previous else {}
    what = f"read the log of pod {namespace}/{pod}"
    try:
        response = connection.call(
            "GET", _path(pod, namespace), params=params, what=what, absent_ok=True
        )
    except ClusterFault as error:
        if error.status == HTTPStatus.BAD_REQUEST:  # not started
            return ""
        raise
    return "" if response is None else response.content.decode(errors="replace")


def lines(cluster: Cluster, pod: str, namespace: str, container: str) -> list[str]:
    """Give the last lines of a container's log; none if it has not begun.

    Raises:
        PodGone: there is no such pod.
    """
    text = tail(cluster, pod, namespace, container=container, most=MOST_LINES)
    if not text and cluster.metadata(POD, pod, namespace) is None:
        raise PodGone(f"pod {namespace}/{pod} is gone", status=HTTPStatus.NOT_FOUND)
    return text.splitlines()


def followed(
    cluster: Cluster, pod: str, namespace: str, container: str, stop: threading.Event
) -> Iterator[str]:
    """Give the lines of a container's log as they come, from its first, until it has ended.

    After a broken connection it goes on behind the last line that was given.

    Raises:
        PodGone: there is no such pod (any more).
    """
    last = ""
    while not stop.is_set():
        try:
            with _stream(cluster, pod, namespace, container, since=last) as stream:
                for line in stream:
                    stamp, _, text = line.partition(" ")
                    if stamp > last:
                        last = stamp
                        yield text
                    if stop.is_set():
                        return
        except Unreachable:
            stop.wait(_PAUSE_S)
            continue
        except ClusterFault as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise PodGone(f"pod {namespace}/{pod} is gone", status=error.status) from error
            if error.status != HTTPStatus.BAD_REQUEST:  # not begun yet
                raise
        if _over(cluster, pod, namespace, container):
            return
        stop.wait(_PAUSE_S)


def _stream(
    connection: Connection, pod: str, namespace: str, container: str, *, since: str
) -> AbstractContextManager[Iterator[str]]:
    """Follow a container's log: lines, each with its time in front, until the stream closes.

    Args:
        connection: to the API server.
        pod: name of it.
        namespace: that it is in.
        container: of the pod.
        since: time (RFC 3339) from which on, or ""; lines of that second come again.

    Raises:
        ClusterFault: status 404 where there is no such pod, 400 before the container began.
        Unreachable: the connection broke.
    """
    params = {"container": container, "follow": "true", "timestamps": "true"}
    params |= {"sinceTime": since} if since else {}
    what = f"follow the log of pod {namespace}/{pod}"
    return connection.stream(_path(pod, namespace), what=what, params=params, quiet_s=_QUIET_S)


def _path(pod: str, namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}/log"


def _over(cluster: Cluster, pod: str, namespace: str, container: str) -> bool:
    found = cluster.get(POD, pod, namespace)
    if found is None:
        raise PodGone(f"pod {namespace}/{pod} is gone", status=HTTPStatus.NOT_FOUND)
    status = found.get("status", {})
    states = {each["name"]: each["state"] for each in status.get("containerStatuses") or ()}
    ended = "terminated" in states.get(container, {})
    return ended or status.get("phase") in {"Succeeded", "Failed"}
