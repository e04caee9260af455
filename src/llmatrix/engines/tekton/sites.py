"""The sites that stand on a cluster, found by their labels and removed by them.

Only what llmatrix made is ever touched: an object of a site carries our label and the site's; a
namespace must moreover have the site's very name and say that it belongs to the home namespace
that is looked after, so that nobody's ``gc`` takes another team's runs from under them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import ClusterFault, Refused
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    LEASE,
    NAMESPACE,
    PIPELINE_RUN,
    POD,
    SERVICE,
    STATEFUL_SET,
    STEP_ACTION,
    TASK,
    Kind,
    Object,
)
from llmatrix.errors import Stopped

SITE_KINDS: Final = (STATEFUL_SET, DEPLOYMENT, JOB, POD, SERVICE, CONFIG_MAP, LEASE)
"""Kinds that sites in a shared namespace are made of, owners before what they own."""
AT_ONCE: Final = 8
_RESERVED: Final = ("default", "kube-", "openshift", "tekton-")
_EVERY_S: Final = 0.5
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """One object to remove, and only that very one."""

    kind: Kind
    namespace: str | None
    name: str
    uid: str

    @classmethod
    def of(cls, kind: Kind, document: Object) -> Piece:
        """Refer to an object."""
        metadata = document["metadata"]
        return cls(kind, metadata.get("namespace"), metadata["name"], metadata.get("uid", ""))

    def __str__(self) -> str:
        """Name it as people do: ``namespace e-0``, ``Service bench/e-0-model``."""
        where = f"{self.namespace}/" if self.namespace else ""
        kind = "namespace" if self.kind is NAMESPACE else self.kind.name
        return f"{kind} {where}{self.name}"


@dataclass(frozen=True, slots=True)
class StandingSite:
    """A site of which something stands.

    Attributes:
        name: of the site.
        experiment: as the label has it.
        run: which submission made it, as the label has it.
        expires: POSIX second after which nobody wants it, or None.
        pieces: its namespace, or its objects in the home namespace.
    """

    name: str
    experiment: str
    run: str
    expires: int | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What stands, and why we may not see all of it."""

    sites: tuple[StandingSite, ...]
    unseen: tuple[str, ...] = ()


def is_site_namespace(document: Object, home: str) -> bool:
    """Tell whether a namespace is a site's own, made by llmatrix for a run of ``home``."""
    name, marks = document["metadata"]["name"], document["metadata"].get("labels") or {}
    return (
        labels.ours(document)
        and marks.get(labels.SITE) == name
        and marks.get(labels.HOME) == home
        and name != home
        and not name.startswith(_RESERVED)
    )


def is_of_site(document: Object, home: str) -> bool:
    """Tell whether an object in the home namespace is a site's.

    The pods of trials carry labels of the run, too; those belong to their TaskRuns.
    """
    metadata = document["metadata"]
    marks = metadata.get("labels") or {}
    owned = any(owner.get("controller") for owner in metadata.get("ownerReferences") or ())
    return labels.ours(document) and bool(marks.get(labels.SITE)) and not owned and (
        marks.get(labels.HOME, home) == home
    )  # fmt: skip


def read_sites(
    namespaces: Iterable[Object], objects: Iterable[tuple[Kind, Object]], home: str
) -> list[StandingSite]:
    """Put what carries the label of a site together, site by site."""
    found = [
        *((NAMESPACE, each) for each in namespaces if is_site_namespace(each, home)),
        *((kind, each) for kind, each in objects if is_of_site(each, home)),
    ]
    by_name: dict[str, list[tuple[Kind, Object]]] = {}
    for kind, each in found:
        by_name.setdefault(each["metadata"]["labels"][labels.SITE], []).append((kind, each))
    return [_site(name, pieces) for name, pieces in sorted(by_name.items())]


def find_sites(cluster: Cluster, home: str, selection: Mapping[str, str | None]) -> Found:
    """Look for the sites of a home namespace with these labels besides our own.

    Raises:
        Unreachable: nobody answers.
    """
    wanted = {labels.MANAGED_BY: labels.OURS, labels.SITE: None, **selection}
    unseen: list[str] = []
    objects: list[tuple[Kind, Object]] = []
    namespaces: list[Object] = []
    for kind in (NAMESPACE, *SITE_KINDS):
        try:
            found = cluster.find(kind, None if kind is NAMESPACE else home, wanted)
        except Refused as error:
            unseen.append(str(error))
            continue
        if kind is NAMESPACE:
            namespaces = found
        else:
            objects += [(kind, each) for each in found]
    return Found(tuple(read_sites(namespaces, objects, home)), tuple(unseen))


def unused_definitions(cluster: Cluster, home: str) -> list[Piece]:
    """Give the Tasks and StepActions of ours, if no PipelineRun is left that could name them."""
    ours = {labels.MANAGED_BY: labels.OURS}
    try:
        if cluster.find(PIPELINE_RUN, home, ours):
            return []
        return [
            Piece.of(kind, each)
            for kind in (TASK, STEP_ACTION)
            for each in cluster.find(kind, home, ours)
        ]
    except Refused:
        return []  # gc removes them when they have not been used for a day


def remove(
    cluster: Cluster,
    pieces: Sequence[Piece],
    patience_s: float,
    *,
    stop: threading.Event,
) -> list[str]:
    """Remove objects and see them gone, all within ``patience_s`` seconds.

    Returns:
        What could not be removed, in words.

    Raises:
        Stopped: ``stop`` was set meanwhile; what was told to go goes.
    """
    give_up = time.monotonic() + patience_s
    with ThreadPoolExecutor(AT_ONCE) as pool:
        refusals = list(pool.map(lambda piece: _delete(cluster, piece), pieces))
    left = [refusal for refusal in refusals if refusal]
    waiting = [piece for piece, refusal in zip(pieces, refusals, strict=True) if not refusal]
    while waiting:
        waiting = [piece for piece in waiting if _stands(cluster, piece)]
        if not waiting:
            break
        if time.monotonic() >= give_up:
            return [*left, *(_held(cluster, piece) for piece in waiting)]
        if stop.wait(_EVERY_S):
            raise Stopped("stopped; what was told to go goes by itself")
    return left


def _site(name: str, pieces: Sequence[tuple[Kind, Object]]) -> StandingSite:
    marks = pieces[0][1]["metadata"]["labels"]
    told = [each["metadata"]["labels"].get(labels.EXPIRES, "") for _, each in pieces]
    expiries = [int(text) for text in told if text.isdigit()]
    return StandingSite(
        name,
        marks.get(labels.EXPERIMENT, ""),
        marks.get(labels.RUN, ""),
        max(expiries) if expiries else None,
        tuple(Piece.of(kind, each) for kind, each in pieces),
    )


def _delete(cluster: Cluster, piece: Piece) -> str:
    try:
        cluster.delete(piece.kind, piece.name, piece.namespace, uid=piece.uid)
    except ClusterFault as error:
        if error.status == HTTPStatus.CONFLICT and piece.kind is NAMESPACE:  # on its way already
            return ""
        return f"{piece}: {error}"
    return ""


def _stands(cluster: Cluster, piece: Piece) -> bool:
    try:
        found = cluster.metadata(piece.kind, piece.name, piece.namespace)
    except Refused:
        return False  # we may remove it, and may not look: believe the answer to the removal
    return found is not None and found["uid"] == piece.uid


def _held(cluster: Cluster, piece: Piece) -> str:
    document = cluster.get(piece.kind, piece.name, piece.namespace) or {}
    conditions = document.get("status", {}).get("conditions") or ()
    telling = [
        " ".join(str(each.get("message", "")).split())
        for each in conditions
        if piece.kind is NAMESPACE and each.get("status") == "True"
    ]
    holders = document.get("metadata", {}).get("finalizers") or ()
    why = "; ".join(telling) or (f"held by {', '.join(holders)}" if holders else "no reason told")
    return f"{piece}: still there ({why})"
