"""Logs of containers as they are written, followed through broken connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Unreachable
from llmatrix.cluster.kinds import POD

MOST_LINES: Final = 20_000
_PAUSE_S: Final = 0.7


class PodGone(ClusterFault):
    """The pod is not there any more, and its logs with it."""


def lines(cluster: Cluster, pod: str, namespace: str, container: str) -> list[str]:
    """Give the last lines of a container's log; none if it has not begun.

    Raises:
        PodGone: there is no such pod.
    """
    text = cluster.log(pod, namespace, container=container, lines=MOST_LINES)
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
            with cluster.log_stream(pod, namespace, container, since=last) as stream:
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


def _over(cluster: Cluster, pod: str, namespace: str, container: str) -> bool:
    found = cluster.get(POD, pod, namespace)
    if found is None:
        raise PodGone(f"pod {namespace}/{pod} is gone", status=HTTPStatus.NOT_FOUND)
    status = found.get("status", {})
    states = {each["name"]: each["state"] for each in status.get("containerStatuses") or ()}
    ended = "terminated" in states.get(container, {})
    return ended or status.get("phase") in {"Succeeded", "Failed"}
