"""Follow objects as they change: list, watch, and list again whenever the thread is lost.

What comes out is the whole of what is there, after every change: a consumer compares what is with
what it wants, and cannot be wrong about what it missed. (The order of calls is the one that
Kubernetes' API concepts prescribe, "Efficient detection of changes".)
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.connection import Connection
from llmatrix.cluster.faults import ClusterFault, Gone, Refused, Unreachable, fault
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.cluster.labels import selecting

SERVER_TIMEOUT_S: Final = 60
_GRACE_S: Final = 15.0
"""How long after that a stream may stay open and silent."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to follow: all objects of a kind in a namespace that carry these labels."""

    kind: Kind
    namespace: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there now.

    Attributes:
        wanted: which of the things followed.
        objects: all of them, by name.
        changed: names of those that are new, different or gone since the last time.
        away: why the API server cannot be asked at the moment, or "".
    """

    wanted: Wanted
    objects: Mapping[str, Object]
    changed: frozenset[str]
    away: str = ""


@contextlib.contextmanager
def following(cluster: Cluster, *wanted: Wanted) -> Iterator[queue.SimpleQueue[Seen | Exception]]:
    """Follow several kinds of objects at once, each in a thread of its own, into one queue.

    A fault that waiting cannot mend (no right, no such kind) is put into the queue as it is.
    """
    into: queue.SimpleQueue[Seen | Exception] = queue.SimpleQueue()
    ended = threading.Event()
    for each in wanted:
        threading.Thread(
            target=_follow, args=(cluster, each, into, ended), daemon=True, name=each.kind.plural
        ).start()
    try:
        yield into
    finally:
        ended.set()


@contextlib.contextmanager
def events(
    connection: Connection, wanted: Wanted, version: str, *, timeout_s: int
) -> Iterator[Iterator[Object]]:
    """Watch from a resource version; the events end when the server closes the stream.

    A stream on which nothing came for longer than ``timeout_s`` is given up as half-open.

    Raises:
        Gone: the version is too old; list again.
        Unreachable: the connection broke.
    """
    what = f"watch {wanted.kind.resource} in namespace {wanted.namespace}"
    params = selecting(wanted.labels) | {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(timeout_s),
    }
    path, quiet_s = wanted.kind.path(wanted.namespace), timeout_s + _GRACE_S
    with connection.stream(path, what=what, params=params, quiet_s=quiet_s) as lines:
        yield _read(lines, what)


def _read(lines: Iterator[str], what: str) -> Iterator[Object]:
    for line in lines:
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            status = event["object"]
            raise fault(f"cannot {what}", int(status.get("code", 0)), status)
        yield event


def _follow(
    cluster: Cluster,
    wanted: Wanted,
    into: queue.SimpleQueue[Seen | Exception],
    ended: threading.Event,
) -> None:
    objects: dict[str, Object] = {}
    pause_s = _FIRST_PAUSE_S
    while not ended.is_set():
        try:
            version = _list(cluster, wanted, objects, into)
            pause_s = _FIRST_PAUSE_S
            while not ended.is_set():
                version = _watch(cluster, wanted, version, objects, into, ended)
        except Gone:
            continue
        except Refused as error:
            into.put(error)
            return
        except Unreachable as error:
            into.put(Seen(wanted, dict(objects), frozenset(), away=str(error)))
        except ClusterFault as error:
            if error.status and error.status < 500:  # noqa: PLR2004 - our fault, not the server's
                into.put(error)
                return
            into.put(Seen(wanted, dict(objects), frozenset(), away=str(error)))
        except Exception as error:  # noqa: BLE001 - a thread's error belongs to who waits for it
            into.put(error)
            return
        ended.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _list(
    cluster: Cluster,
    wanted: Wanted,
    objects: dict[str, Object],
    into: queue.SimpleQueue[Seen | Exception],
) -> str:
    found, version = cluster.listed(wanted.kind, wanted.namespace, wanted.labels)
    now = {each["metadata"]["name"]: each for each in found}
    changed = {
        name
        for name in now.keys() | objects.keys()
        if _version(now.get(name)) != _version(objects.get(name))
    }
    objects.clear()
    objects.update(now)
    into.put(Seen(wanted, dict(objects), frozenset(changed)))
    return version


def _watch(
    cluster: Cluster,
    wanted: Wanted,
    version: str,
    objects: dict[str, Object],
    into: queue.SimpleQueue[Seen | Exception],
    ended: threading.Event,
) -> str:
    """Take events in until the server closes the stream; give the version to go on from."""
    with events(cluster, wanted, version, timeout_s=SERVER_TIMEOUT_S) as stream:
        for event in stream:
            if ended.is_set():
                break
            one = event["object"]
            version = one["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            name = one["metadata"]["name"]
            if event["type"] == "DELETED":
                objects.pop(name, None)
            else:
                objects[name] = one
            into.put(Seen(wanted, dict(objects), frozenset({name})))
    return version


def _version(document: Object | None) -> str | None:
    return None if document is None else document["metadata"]["resourceVersion"]
