"""A connection to one Kubernetes API server: objects as plain data, one method a verb.

Credentials, TLS and kubeconfig files are lightkube's; its typed objects are not used, because
manifests are data here, and its watch and wait are not, because they do not relist.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import httpx2 as httpx
import orjson
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from llmatrix.cluster.faults import AlreadyThere, ClusterFault, Unreachable, fault
from llmatrix.cluster.kinds import Kind, Object, known
from llmatrix.cluster.labels import selector

MANAGER: Final = "llmatrix"
"""Owner of the fields that we apply."""
PAGE: Final = 250
"""Objects asked for at once."""
_ONLY_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_ONLY_METADATA_OF_ALL: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_QUIET_S: Final = 10.0
"""Of a log that is followed."""
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
PATIENCE_S: Final = 90.0
"""How long a call is tried again while the API server is away: it outlives a restart of it."""


class Cluster:
    """A Kubernetes API server, and the account by which we speak to it.

    Calls that meet a server that is away or busy are tried again for ``patience_s`` seconds.

    Attributes:
        namespace: that the kubeconfig's context, or the pod, is in.
    """

    def __init__(self, config: SingleConfig, *, patience_s: float = PATIENCE_S) -> None:
        self.namespace = config.namespace
        self.context = config.context_name or "in-cluster"
        self.patience_s = patience_s
        if config.user is None:  # as behind `kubectl proxy`; lightkube would fail on it
            config = config._replace(user=User())
        self._http = Client(config, ConnectionParams(timeout=_TIMEOUT))
        self._discovered: dict[tuple[str, str], Kind] = {}

    @classmethod
    def connect(cls, context: str | None = None, *, patience_s: float = PATIENCE_S) -> Self:
        """Take the kubeconfig (``KUBECONFIG``, ``~/.kube/config``) or the pod's own account.

        Raises:
            ClusterFault: there is neither, or no such context.
        """
        try:
            config = KubeConfig.from_env().get(context)
        except (ConfigError, OSError, ValueError) as error:
            raise ClusterFault(
                f"no Kubernetes cluster is known here ({error}); set KUBECONFIG, or log in to one"
            ) from error
        if config is None:
            raise ClusterFault(
                "the kubeconfig names no current context; choose one with: "
                "kubectl config use-context NAME"
            )
        try:
            return cls(config, patience_s=patience_s)
        except (ConfigError, OSError, ValueError) as error:
            raise ClusterFault(
                f"the kubeconfig's context '{config.context_name}' cannot be used: {error}"
            ) from error

    def __enter__(self) -> Self:
        """Use the connection until the block ends."""
        return self

    def __exit__(self, *args: object) -> None:
        """Close the connection."""
        self._http.close()

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
        params = {"limit": str(PAGE)} | _selecting(labels)
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
    ) -> bool:
        """Delete an object, what it owns in the background; tell whether it was there.

        With ``uid``, only if it is still that very object.
        """
        body: Object = {"propagationPolicy": "Background"}
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
            params=_selecting(labels),
            document={"propagationPolicy": "Background", "gracePeriodSeconds": grace_s},
            absent_ok=True,
        )

    def log(
        self,
        pod: str,
        namespace: str,
        *,
        container: str | None = None,
        lines: int = 400,
        previous: bool = False,
    ) -> str:
        """Give the last lines of a container's log; "" if it has none (yet, or any more)."""
        params = {"tailLines": str(lines), "limitBytes": str(256 * 1024)}
        params |= {"container": container} if container else {}
        params |= {"previous": "true"} if previous else {}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            response = self.call(
                "GET",
                path,
                params=params,
                what=f"read the log of pod {namespace}/{pod}",
                absent_ok=True,
            )
        except ClusterFault as error:
            if error.status == HTTPStatus.BAD_REQUEST:  # not started
                return ""
            raise
        return "" if response is None else response.content.decode(errors="replace")

    @contextmanager
    def log_stream(
        self, pod: str, namespace: str, container: str, *, since: str = ""
    ) -> Iterator[Iterator[str]]:
        """Follow a container's log: lines, each with its time in front, until the stream closes.

        A stream on which nothing came for a while counts as broken: it may be.

        Args:
            pod: name of it.
            namespace: that it is in.
            container: of the pod.
            since: time (RFC 3339) from which on; lines of that second come again.

        Raises:
            ClusterFault: status 404 where there is no such pod, 400 before the container began.
            Unreachable: the connection broke.
        """
        params = {"container": container, "follow": "true", "timestamps": "true"}
        params |= {"sinceTime": since} if since else {}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        what = f"follow the log of pod {namespace}/{pod}"
        timeout = httpx.Timeout(10.0, read=_QUIET_S)
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise fault(f"cannot {what}", response.status_code, _json(response))
                yield response.iter_lines()
        except httpx.HTTPError as error:
            raise Unreachable(f"cannot {what}: {_words(error)}") from error

    def through_pod(
        self,
        pod: str,
        namespace: str,
        port: int,
        path: str,
        params: Mapping[str, str] | None = None,
    ) -> bytes | None:
        """Ask a pod by HTTP GET through the API server; None for a 404.

        Raises:
            ClusterFault: the pod does not answer; it is asked again for as long as we are patient.
        """
        where = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{quote(path)}"
        what = f"ask pod {namespace}/{pod} through the API server"
        response = self.call("GET", where, what=what, params=params, absent_ok=True)
        return None if response is None else bytes(response.content)

    @contextmanager
    def events(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str | None] | None,
        version: str,
        *,
        timeout_s: int,
    ) -> Iterator[Iterator[Object]]:
        """Watch from a resource version; the events end when the server closes the stream.

        A stream on which nothing came for longer than ``timeout_s`` is given up as half-open.

        Raises:
            Gone: the version is too old; list again.
            Unreachable: the connection broke.
        """
        params = _selecting(labels) | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_s),
        }
        what = _told("watch", kind, None, namespace)
        timeout = httpx.Timeout(10.0, read=timeout_s + 15.0)
        try:
            with self._http.stream(
                "GET", kind.path(namespace), params=params, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    raise fault(f"cannot {what}", response.status_code, _json(response))
                yield _watched(response, what)
        except httpx.HTTPError as error:
            raise Unreachable(f"cannot {what}: {_words(error)}") from error

    def version(self) -> str:
        """Give the version of Kubernetes, as it names itself."""
        response = self.call("GET", "/version", what="ask for the version of Kubernetes")
        return str(orjson.loads(response.content)["gitVersion"])

    def serves(self, kind: Kind) -> bool:
        """Tell whether the API server has this kind of object."""
        root = f"/apis/{kind.group}" if kind.group else "/api"
        what = f"ask for the kinds of {kind.api_version}"
        response = self.call("GET", f"{root}/{kind.version}", what=what, absent_ok=True)
        if response is None:
            return False
        found = orjson.loads(response.content)["resources"]
        return any(each["name"] == kind.plural for each in found)

    def kind_of(self, document: Object) -> Kind:
        """Give the kind of any object, asking the API server about those that are not ours.

        Raises:
            ClusterFault: the API server has no such kind.
        """
        found = known(document)
        if found is not None:
            return found
        api_version, name = document["apiVersion"], document["kind"]
        if (api_version, name) not in self._discovered:
            self._discover(api_version)
        try:
            return self._discovered[api_version, name]
        except KeyError:
            raise ClusterFault(
                f"the cluster has no objects of kind {name} ({api_version}); install what "
                f"defines them",
                status=404,
            ) from None

    def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        params: Mapping[str, str] | None = None,
        document: Object | None = None,
        content_type: str = "application/json",
        absent_ok: bool = False,
        accept: str = "application/json",
    ) -> Any:
        """Send one request, again while the server is away or busy.

        Returns:
            The response, or None for a 404 where that is fine.

        Raises:
            ClusterFault: it was refused, or nobody answered for as long as we are patient.
        """
        content = None if document is None else orjson.dumps(document)
        headers = {"accept": accept}
        headers |= {} if content is None else {"content-type": content_type}
        give_up = time.monotonic() + self.patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                response = self._http.request(
                    method, path, params=params, content=content, headers=headers
                )
            except httpx.HTTPError as error:
                if time.monotonic() + pause_s > give_up:
                    raise Unreachable(
                        f"cannot {what}: the API server at {self._http.base_url} does not answer "
                        f"({_words(error)})"
                    ) from error
            except ConfigError as error:
                raise ClusterFault(f"cannot {what}: {error}") from error
            else:
                if response.status_code == HTTPStatus.NOT_FOUND and absent_ok:
                    return None
                if not response.is_error:
                    return response
                passing = response.status_code in _PASSING
                if not passing or time.monotonic() + pause_s > give_up:
                    raise fault(f"cannot {what}", response.status_code, _json(response))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _address(self, document: Object) -> tuple[Kind, str | None, str]:
        kind, metadata = self.kind_of(document), document["metadata"]
        namespace = metadata.get("namespace", self.namespace) if kind.namespaced else None
        return kind, namespace, metadata["name"]

    def _discover(self, api_version: str) -> None:
        group, _, version = api_version.rpartition("/")
        root = f"/apis/{group}" if group else "/api"
        what = f"ask for the kinds of {api_version}"
        response = self.call("GET", f"{root}/{version}", what=what, absent_ok=True)
        for each in [] if response is None else orjson.loads(response.content)["resources"]:
            if "/" not in each["name"]:
                self._discovered[api_version, each["kind"]] = Kind(
                    group, version, each["name"], each["kind"], each["namespaced"]
                )


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


def _selecting(labels: Mapping[str, str | None] | None) -> dict[str, str]:
    return {"labelSelector": selector(labels)} if labels else {}


def _watched(response: httpx.Response, what: str) -> Iterator[Object]:
    for line in response.iter_lines():
        event = orjson.loads(line)
        if event["type"] == "ERROR":
            status = event["object"]
            raise fault(f"cannot {what}", int(status.get("code", 0)), status)
        yield event


def _told(verb: str, kind: Kind, name: str | None, namespace: str | None) -> str:
    where = f" in namespace {namespace}" if namespace is not None and kind.namespaced else ""
    return f"{verb} {kind.resource}{f' {name!r}' if name else ''}{where}"


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {"message": response.text[:300]}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
