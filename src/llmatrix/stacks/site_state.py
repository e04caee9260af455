"""What a site on Kubernetes knows of itself: the data of one ConfigMap, read and written whole.

Pure: it says which entries to set or to remove (None), ``kubernetes_site`` does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self

from llmatrix.cluster import pods
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.plan.step import Step

Change = dict[str, str | None]
"""Entries of the ConfigMap to set, or with None to remove."""
_KINDS: Final = "kinds"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An object of the site: its kind and name."""

    api_version: str
    kind: str
    name: str

    @classmethod
    def to(cls, document: Object) -> Self:
        """Refer to an object."""
        return cls(document["apiVersion"], document["kind"], document["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Stood:
    """A pod as it stood when its step was ready; one that restarted since is another.

    Attributes:
        uid: of the pod.
        restarts: of its containers by then.
        ip: of the pod.
    """

    uid: str
    restarts: int
    ip: str

    @classmethod
    def now(cls, pod: Object) -> Self:
        """Take a pod as it is."""
        ip = pod.get("status", {}).get("podIP", "")
        return cls(pod["metadata"]["uid"], pods.restarts(pod), ip)


@dataclass(frozen=True, slots=True)
class SiteState:
    """The entries of a site's ConfigMap; none where it is not there."""

    data: Mapping[str, str]
    there: bool = True

    def key(self, step: Step) -> str | None:
        """Give the key that stands for a step."""
        return self.data.get(f"key.{step}")

    def applied(self, step: Step) -> list[Reference]:
        """Give the objects that a step has made, or was about to make."""
        return [Reference(*each) for each in json.loads(self.data.get(f"applied.{step}", "[]"))]

    def standing(self, step: Step) -> dict[str, Stood]:
        """Give the pods of a step as they were when it was ready, by name."""
        found = json.loads(self.data.get(f"standing.{step}", "{}"))
        return {name: Stood(**each) for name, each in found.items()}

    def kinds(self) -> list[Kind]:
        """Give the kinds of objects that stacks made here beside the usual ones."""
        return [Kind(**each) for each in json.loads(self.data.get(_KINDS, "[]"))]


def with_key(step: Step, key: str | None) -> Change:
    """Set or take back the key of a step."""
    return {f"key.{step}": key}


def with_applied(step: Step, references: Iterable[Reference]) -> Change:
    """Record what a step made."""
    rows = [[each.api_version, each.kind, each.name] for each in sorted(set(references))]
    return {f"applied.{step}": json.dumps(rows) if rows else None}


def with_standing(step: Step, found: Iterable[Object]) -> Change:
    """Record the pods of a step that is ready; none: nothing certain stands."""
    standing = {pod["metadata"]["name"]: asdict(Stood.now(pod)) for pod in found}
    return {f"standing.{step}": json.dumps(standing) if standing else None}


def with_kinds(kinds: Iterable[Kind]) -> Change:
    """Record which other kinds of objects stand here, so that removal finds them."""
    ordered = sorted(set(kinds), key=lambda kind: (kind.resource, kind.version))
    return {_KINDS: json.dumps([asdict(kind) for kind in ordered]) if ordered else None}
