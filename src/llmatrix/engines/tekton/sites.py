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
from llmatrix.plan.step import Step
from llmatrix.stacks.site_state import SiteState

SITE_KINDS: Final = (STATEFUL_SET, DEPLOYMENT, JOB, POD, SERVICE, CONFIG_MAP, LEASE)
"""Kinds that any site in a shared namespace is made of, owners before what they own; which others
there are, the sites have on record."""
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
    site: str = ""
    """Name of the site that it is of, if any."""
    record: bool = False
    """Whether it is what the site has on record: by it the rest is found, so it goes last."""

    @classmethod
    def of(cls, kind: Kind, document: Object) -> Piece:
        """Refer to an object."""
        metadata = document["metadata"]
        return cls(
            kind,
            metadata.get("namespace"),
            metadata["name"],
            metadata.get("uid", ""),
            (metadata.get("labels") or {}).get(labels.SITE, ""),
            _is_record(kind, document),
        )

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
        kept: whether it was left standing on purpose.
    """

    name: str
    experiment: str
    run: str
    expires: int | None
    pieces: tuple[Piece, ...]
    kept: bool = False


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

    def look(kind: Kind) -> list[tuple[Kind, Object]]:
        try:
            found = cluster.find(kind, home if kind.namespaced else None, wanted)
        except Refused as error:
            unseen.append(str(error))
            return []
        except ClusterFault as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return []  # the definition of the kind is gone, and they with it
        return [(kind, each) for each in found]

    namespaces = [each for _, each in look(NAMESPACE)]
    objects = [each for kind in SITE_KINDS for each in look(kind)]
    more = [kind for kind in recorded_kinds(objects, home) if kind not in SITE_KINDS]
    objects = [*(each for kind in more for each in look(kind)), *objects]
    return Found(tuple(read_sites(namespaces, objects, home)), tuple(unseen))


def recorded_kinds(objects: Iterable[tuple[Kind, Object]], home: str) -> list[Kind]:
    """Give the kinds that the sites among these objects have on record beside the usual ones."""
    records = [each for kind, each in objects if _is_record(kind, each) and is_of_site(each, home)]
    found = (kind for each in records for kind in SiteState(each.get("data") or {}).kinds())
    return list(dict.fromkeys(found))


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

    What a site has on record goes once all else of it is gone, or stays with what does not go.

    Returns:
        What could not be removed, in words.

    Raises:
        Stopped: ``stop`` was set meanwhile; what was told to go goes.
    """
    give_up = time.monotonic() + patience_s
    left = _remove(cluster, [each for each in pieces if not each.record], give_up, stop)
    stuck = {each.site for each in left}
    records = [each for each in pieces if each.record and each.site not in stuck]
    left |= _remove(cluster, records, give_up, stop)
    return list(left.values())


def _remove(
    cluster: Cluster, pieces: Sequence[Piece], give_up: float, stop: threading.Event
) -> dict[Piece, str]:
    """Remove objects; tell for each that could not be removed why."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        refusals = list(pool.map(lambda piece: _delete(cluster, piece), pieces))
    told = dict(zip(pieces, refusals, strict=True))
    left = {piece: refusal for piece, refusal in told.items() if refusal}
    waiting = [piece for piece in pieces if piece not in left]
    while waiting:
        waiting = [piece for piece in waiting if _stands(cluster, piece)]
        if not waiting:
            break
        if time.monotonic() >= give_up:
            return left | {piece: _held(cluster, piece) for piece in waiting}
        if stop.wait(_EVERY_S):
            raise Stopped("stopped; what was told to go goes by itself")
    return left


def _is_record(kind: Kind, document: Object) -> bool:
    marks = document["metadata"].get("labels") or {}
    return kind is CONFIG_MAP and marks.get(labels.STEP) == Step.NAMESPACE.value


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
        any(labels.KEEP in each["metadata"]["labels"] for _, each in pieces),
    )


def _delete(cluster: Cluster, piece: Piece) -> str:
    of_site = bool(piece.site) and piece.kind is not NAMESPACE  # its pods hold accelerators
    try:
        cluster.delete(piece.kind, piece.name, piece.namespace, uid=piece.uid, owned_first=of_site)
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
