"""The logs of what runs on a site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import Object
from llmatrix.cluster.logs import tail
from llmatrix.stacks.kubernetes_site import KubernetesSite

_LINES: Final = 2000
_BYTES: Final = 256 * 1024


def of_pods(site: KubernetesSite, found: Iterable[Object]) -> dict[str, str]:
    """Give the end of the log of every container, by file name: that of its pod, ``server-0.log``.

    A container that was started again has what its former life said last before its own.
    """
    texts: dict[str, str] = {}
    for pod in found:
        name = _short(site, pod["metadata"]["name"])
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        for status in statuses:
            file = name if len(statuses) == 1 else f"{name}-{status['name']}"
            texts[f"{file}.log"] = _log(site, pod, status)
    return texts


def of_pod(site: KubernetesSite, pod: Object) -> str:
    """Give the ends of the logs of a pod's containers, one after another."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return "\n".join(_log(site, pod, status) for status in statuses)


def _log(site: KubernetesSite, pod: Object, status: Object) -> str:
    name, container = pod["metadata"]["name"], status["name"]
    pieces = [True, False] if status.get("restartCount") else [False]
    try:
        texts = [
            tail(
                site.cluster,
                name,
                site.namespace,
                container=container,
                most=_LINES,
                previous=previous,
            )
            for previous in pieces
        ]
    except ClusterFault as error:
        return f"(the log cannot be read: {error})"
    return "".join(texts)[-_BYTES:]


def _short(site: KubernetesSite, name: str) -> str:
    """Give the name of a pod without that of the site, which is the same for all."""
    return name if site.address.own_namespace else name.removeprefix(f"{site.address.name}-")
