"""The objects of a Kubernetes API server, as plain data: one method a verb."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from lightkube.config.kubeconfig import SingleConfig

from llmatrix.cluster.connection import PATIENCE_S, Connection
from llmatrix.cluster.discovery import Kinds
from llmatrix.cluster.faults import AlreadyThere, ClusterFault
from llmatrix.cluster.kinds import Kind, Object
from llmatrix.cluster.labels import selecting

MANAGER: Final = "llmatrix"
"""Owner of the fields that we apply."""
PAGE: Final = 250
"""Objects asked for at once."""
_ONLY_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_ONLY_METADATA_OF_ALL: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Cluster(Connection):
    """A connection by which objects are read, made, changed and removed."""

    def __init__(self, config: SingleConfig, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(config, patience_s=patience_s)
        self._kinds = Kinds(self)

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """Give an object, or None if there is none of that name."""
        path = kind.path(namespace, name)
        response = self.call("GET", path, what=_told("read", kind, name, namespace), absent_ok=True)
        return None if response is None else orjson.loads(response.content)

    def metadata(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """Give only the metadata of an object: what a secret holds stays on the server."""
        response = self.call(
            "GET",
            kind.path(namespace, name),
            what=_told("read", kind, name, namespace),
            absent_ok=True,
            accept=_ONLY_METADATA,
        )
        return None if response is None else orjson.loads(response.content)["metadata"]

    def find(
        self,
        kind: Kind,
        namespace: str | None = None,
        labels: Mapping[str, str | None] | None = None,
    ) -> list[Object]:
        """Give all objects of a kind with these labels, in a namespace or in the whole cluster."""
        return self.listed(kind, namespace, labels)[0]

    def find_metadata(
        self, kind: Kind, namespace: str, labels: Mapping[str, str | None]
    ) -> list[Object]:
        """As ``find``, but give only the metadata of each: what it holds stays on the server."""
        return self._pages(kind, namespace, labels, _ONLY_METADATA_OF_ALL)[0]

    def listed(
        self,
        kind: Kind,
        namespace: str | None = None,
        labels: Mapping[str, str | None] | None = None,
    ) -> tuple[list[Object], str]:
        """As ``find``, with the resource version from which a watch goes on."""
        return self._pages(kind, namespace, labels, "application/json")

    def _pages(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str | None] | None,
        accept: str,
    ) -> tuple[list[Object], str]:
        found: list[Object] = []
        params = {"limit": str(PAGE)} | selecting(labels)
        while True:
            what = _told("list", kind, None, namespace)
            response = self.call(
                "GET", kind.path(namespace), params=params, what=what, accept=accept
            )
            page = orjson.loads(response.content)
            found += [
                {**item, "apiVersion": kind.api_version, "kind": kind.name}
                for item in page["items"] or ()  # null for no metadata at all
            ]
            more = page["metadata"].get("continue")
            if not more:
                return found, page["metadata"]["resourceVersion"]
            params["continue"] = more

    def create(self, document: Object, *, dry_run: bool = False) -> Object:
        """Create an object.

        Raises:
            AlreadyThere: one of that name is there.
        """
        kind, namespace, name = self._address(document)
        response = self.call(
            "POST",
            kind.path(namespace),
            what=_told("create", kind, name, namespace),
            params={"fieldManager": MANAGER} | ({"dryRun": "All"} if dry_run else {}),
            document=document,
        )
        return orjson.loads(response.content)  # type: ignore[no-any-return]

    def apply(self, document: Object, *, dry_run: bool = False) -> Object:
        """Make an object as the document wants it (server-side apply; our fields, by force)."""
        kind, namespace, name = self._address(document)
        response = self.call(
            "PATCH",
            kind.path(namespace, name),
            what=_told("apply", kind, name, namespace),
            params={"fieldManager": MANAGER, "force": "true"}
            | ({"dryRun": "All"} if dry_run else {}),
            document=document,
            content_type="application/apply-patch+yaml",
        )
        return orjson.loads(response.content)  # type: ignore[no-any-return]

    def merge(self, kind: Kind, name: str, namespace: str | None, change: Object) -> Object | None:
        """Change some fields of an object (JSON merge patch); None if it is not there."""
        response = self.call(
            "PATCH",
            kind.path(namespace, name),
            what=_told("change", kind, name, namespace),
            params={"fieldManager": MANAGER},
            document=change,
            content_type="application/merge-patch+json",
            absent_ok=True,
        )
        return None if response is None else orjson.loads(response.content)

    def replace(self, document: Object) -> Object:
        """Put an object in place of the version that it was read from.

        Raises:
            ClusterFault: somebody changed it meanwhile (status 409), or it is gone (404).
        """
        kind, namespace, name = self._address(document)
        response = self.call(
            "PUT",
            kind.path(namespace, name),
            what=_told("replace", kind, name, namespace),
            params={"fieldManager": MANAGER},
            document=document,
        )
        return orjson.loads(response.content)  # type: ignore[no-any-return]

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
        owned_first: bool = False,
    ) -> bool:
        """Delete an object; tell whether it was there.

        With ``uid``, only if it is still that very object. What it owns goes after it, or with
        ``owned_first`` before it, so that once it is gone all of it is.
        """
        body: Object = {"propagationPolicy": "Foreground" if owned_first else "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            response = self.call(
                "DELETE",
                kind.path(namespace, name),
                what=_told("delete", kind, name, namespace),
                document=body,
                absent_ok=True,
            )
        except ClusterFault as error:
            if error.status == HTTPStatus.CONFLICT and uid is not None:
                return False
            raise
        return response is not None

    def delete_all(
        self, kind: Kind, namespace: str, labels: Mapping[str, str | None], *, grace_s: int = 0
    ) -> None:
        """Delete every object of a kind with these labels in a namespace."""
        self.call(
            "DELETE",
            kind.path(namespace),
            what=_told("delete", kind, None, namespace),
            params=selecting(labels),
            document={"propagationPolicy": "Background", "gracePeriodSeconds": grace_s},
            absent_ok=True,
        )

    def kind_of(self, document: Object) -> Kind:
        """Give the kind of any object, asking the API server about those that are not ours.

        Raises:
            ClusterFault: the API server has no such kind.
        """
        return self._kinds.of(document)

    def _address(self, document: Object) -> tuple[Kind, str | None, str]:
        kind, metadata = self.kind_of(document), document["metadata"]
        namespace = metadata.get("namespace", self.namespace) if kind.namespaced else None
        return kind, namespace, metadata["name"]


def created_or_same(cluster: Cluster, document: Object, annotation: str) -> Object:
    """Create an object, or adopt the one of that name if its ``annotation`` says the same.

    Raises:
        ClusterFault: an object of that name is there, and another made it, or from another spec.
    """
    try:
        return cluster.create(document)
    except AlreadyThere:
        kind, metadata = cluster.kind_of(document), document["metadata"]
        standing = cluster.get(kind, metadata["name"], metadata.get("namespace"))
        if standing is None:  # deleted between the two calls
            return cluster.create(document)
        wanted = metadata["annotations"][annotation]
        if (standing["metadata"].get("annotations") or {}).get(annotation) == wanted:
            return standing
        raise ClusterFault(
            f"{kind.name} {metadata.get('namespace', '')}/{metadata['name']} is there and was made "
            f"from something else; delete it, or give the experiment another name"
        ) from None


def _told(verb: str, kind: Kind, name: str | None, namespace: str | None) -> str:
    where = f" in namespace {namespace}" if namespace is not None and kind.namespaced else ""
    return f"{verb} {kind.resource}{f' {name!r}' if name else ''}{where}"
