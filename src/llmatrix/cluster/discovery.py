"""What an API server is, and which kinds of objects it has."""

from __future__ import annotations

from http import HTTPStatus

import orjson

from llmatrix.cluster.connection import Connection
from llmatrix.cluster.faults import ClusterFault
from llmatrix.cluster.kinds import Kind, Object, known


def version(connection: Connection) -> str:
    """Give the version of Kubernetes, as it names itself."""
    response = connection.call("GET", "/version", what="ask for the version of Kubernetes")
    return str(orjson.loads(response.content)["gitVersion"])


def serves(connection: Connection, kind: Kind) -> bool:
    """Tell whether the API server has this kind of object."""
    return any(each["name"] == kind.plural for each in _resources(connection, kind.api_version))


class Kinds:
    """The kinds of any objects; each API version that is not ours is asked for once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._discovered: dict[tuple[str, str], Kind] = {}

    def of(self, document: Object) -> Kind:
        """Give the kind of an object.

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
                status=HTTPStatus.NOT_FOUND,
            ) from None

    def _discover(self, api_version: str) -> None:
        group, _, version_of_it = api_version.rpartition("/")
        for each in _resources(self._connection, api_version):
            if "/" not in each["name"]:
                self._discovered[api_version, each["kind"]] = Kind(
                    group, version_of_it, each["name"], each["kind"], each["namespaced"]
                )


def _resources(connection: Connection, api_version: str) -> list[Object]:
    """Give the resources of an API version; none if the server has no such version."""
    path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    what = f"ask for the kinds of {api_version}"
    response = connection.call("GET", path, what=what, absent_ok=True)
    found: list[Object] = [] if response is None else orjson.loads(response.content)["resources"]
    return found
