"""A connection to one Kubernetes API server: single calls, and answers that stay open.

Credentials, TLS and kubeconfig files are lightkube's; its typed objects are not used, because
manifests are data here, and its watch and wait are not, because they do not relist.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Self

import httpx2 as httpx
import orjson
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from llmatrix.cluster.faults import ClusterFault, Unreachable, fault
from llmatrix.cluster.kinds import Object

PATIENCE_S: Final = 90.0
"""How long a call is tried again while the API server is away: it outlives a restart of it."""
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class Connection:
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

    @contextmanager
    def stream(
        self, path: str, *, what: str, params: Mapping[str, str], quiet_s: float
    ) -> Iterator[Iterator[str]]:
        """Send one GET whose answer stays open: lines, until the server closes it.

        One on which nothing came for ``quiet_s`` seconds counts as broken: it may be half-open.

        Raises:
            ClusterFault: it was refused.
            Unreachable: the connection broke.
        """
        timeout = httpx.Timeout(10.0, read=quiet_s)
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise fault(f"cannot {what}", response.status_code, _json(response))
                yield response.iter_lines()
        except httpx.HTTPError as error:
            raise Unreachable(f"cannot {what}: {_words(error)}") from error


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {"message": response.text[:300]}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
