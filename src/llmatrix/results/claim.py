"""Records on a volume inside a cluster, read from outside: ``pvc://namespace/claim``.

A pod of llmatrix mounts the claim read-only and hands its files out; we ask it through the API
server, so that nothing but the kubeconfig's account is needed. What steps write there they write
inside the cluster: from outside the store is read-only.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import orjson

from llmatrix import __version__
from llmatrix.cluster import labels, users
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.faults import AlreadyThere, ClusterFault
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, POD, Object
from llmatrix.cluster.naming import dns_name
from llmatrix.cluster.pod_http import through_pod
from llmatrix.errors import StoreFault, UserError

IMAGE: Final = "llmatrix.dev/image"
"""Annotation of a claim: image of llmatrix by which its records were written."""
READER: Final = "results-reader"
"""Component label of the pods that hand records out."""
DEFAULT_IMAGE: Final = f"ghcr.io/llmatrix/llmatrix:{__version__}"
"""The image of this version, where nobody names another."""
_URL: Final = re.compile(r"pvc://(?P<namespace>[a-z0-9-]+)/(?P<claim>[a-z0-9.-]+)/?")
_PORT: Final = 8080
_READY_S: Final = 120.0
_TOKEN: Final = "LLMATRIX_RESULTS_TOKEN"  # noqa: S105 - the name of a variable
_LIFETIME_S: Final = 6 * 3600


def default_image() -> str:
    """Give the image of llmatrix where an experiment names none: ``LLMATRIX_IMAGE``, or ours."""
    return os.environ.get("LLMATRIX_IMAGE") or DEFAULT_IMAGE


def open_claim(url: str) -> ClaimStore:
    """Open ``pvc://namespace/claim`` for reading, on the cluster of the kubeconfig.

    Raises:
        UserError: the URL is not one.
        ClusterFault: the cluster cannot be reached.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise UserError(f"'{url}' is no claim; write pvc://namespace/claim")
    return ClaimStore(Cluster.connect(), match["namespace"], match["claim"])


class ClaimStore:
    """The records on a claim, through a pod that is made when the first is asked for."""

    parallel = 4

    def __init__(self, cluster: Cluster, namespace: str, claim: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._claim = claim
        self._pod = dns_name(claim, "reader")
        self._token = ""
        self._making = threading.Lock()
        self._copies = tempfile.TemporaryDirectory(prefix="llmatrix-claim-")
        atexit.register(self.close)

    @property
    def url(self) -> str:
        return f"pvc://{self._namespace}/{self._claim}"

    def get(self, name: str) -> bytes:
        content = self._ask(f"file/{name}")
        if content is None:
            raise KeyError(name)
        return content

    def local(self, name: str) -> Path:
        path = Path(self._copies.name) / name
        if not path.exists():
            content = self.get(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return path

    def exists(self, name: str) -> bool:
        return name in self.sizes(name)

    def open(self, name: str, *, buffer_bytes: int = 1024 * 1024) -> BinaryIO:
        del buffer_bytes  # whole files come through the API server
        return io.BytesIO(self.get(name))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        content = self._ask("sizes", {"prefix": prefix})
        return {} if content is None else orjson.loads(content)

    def names(self, prefix: str = "") -> Iterator[str]:
        yield from self.sizes(prefix)

    def folders(self, prefix: str = "", *, empty: bool = False) -> Iterator[str]:
        del empty  # there are none
        found = (name[len(prefix) :].partition("/") for name in self.sizes(prefix))
        yield from dict.fromkeys(first for first, slash, _ in found if slash)

    def put(self, name: str, content: bytes | Path) -> None:
        del content
        self._read_only(name)

    def delete(self, name: str) -> None:
        self._read_only(name)

    def close(self) -> None:
        """Remove the pod that hands the records out."""
        atexit.unregister(self.close)
        self._copies.cleanup()
        if self._token:
            self._token = ""
            self._cluster.delete(POD, self._pod, self._namespace, grace_s=0)

    def _ask(self, path: str, params: Mapping[str, str] | None = None) -> bytes | None:
        try:
            with self._making:
                if not self._token:
                    self._token = self._stand_up()
            where = f"{self._token}/{path}"
            return through_pod(self._cluster, self._pod, self._namespace, _PORT, where, params)
        except ClusterFault as error:
            self._token = ""  # the pod may be gone: the next question makes it anew
            raise StoreFault(f"the store {self.url}: {error}") from error

    def _stand_up(self) -> str:
        """Make the pod, or take the one that stands, and give its token once it is ready.

        Raises:
            ClusterFault: there is no such claim, or the pod does not become ready.
        """
        claim = self._cluster.get(PERSISTENT_VOLUME_CLAIM, self._claim, self._namespace)
        if claim is None:
            raise ClusterFault(f"there is no claim {self._claim} in namespace {self._namespace}")
        give_up = time.monotonic() + _READY_S
        pod: Object | None = None
        while time.monotonic() < give_up:
            pod = self._cluster.get(POD, self._pod, self._namespace)
            if pod is None:
                self._make(claim)
            elif pod["metadata"].get("deletionTimestamp") is None:
                if pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
                    self._cluster.delete(POD, self._pod, self._namespace, grace_s=0)
                elif _ready(pod):
                    (variable,) = pod["spec"]["containers"][0]["env"]
                    return str(variable["value"])
            time.sleep(0.3)
        raise ClusterFault(
            f"pod {self._namespace}/{self._pod}, which hands the records out, is not ready after "
            f"{_READY_S:.0f} s: {_state(pod)}"
        )

    def _make(self, claim: Object) -> None:
        image = (claim["metadata"].get("annotations") or {}).get(IMAGE) or default_image()
        pod = _reader(self._pod, self._namespace, self._claim, image)
        pod["metadata"]["labels"] |= {
            key: value
            for key, value in (claim["metadata"].get("labels") or {}).items()
            if key in {labels.EXPERIMENT, labels.RUN}
        }
        if users.chosen_by(self._cluster):
            pod["spec"] = users.left_to_the_cluster(pod["spec"])
        try:
            self._cluster.create(pod)
        except AlreadyThere:
            return

    def _read_only(self, name: str) -> NoReturn:
        raise StoreFault(
            f"the store {self.url}: '{name}' cannot be changed from outside the cluster; copy the "
            f"experiment to a folder first: llmatrix pull {self.url}"
        )


def _reader(name: str, namespace: str, claim: str, image: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                labels.MANAGED_BY: labels.OURS,
                labels.COMPONENT: READER,
                labels.EXPIRES: str(int(time.time()) + _LIFETIME_S),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFETIME_S,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": users.USER,
                "fsGroup": users.USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "reader",
                    "image": image,
                    "command": ["llmatrix", "lane", "serve-results"],
                    "args": ["--folder", "/results", "--port", str(_PORT)],
                    "env": [{"name": _TOKEN, "value": secrets.token_hex(16)}],
                    "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "results", "mountPath": "/results", "readOnly": True}
                    ],
                }
            ],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _state(pod: Object | None) -> str:
    if pod is None:
        return "it was not made"
    waiting = [
        status["state"]["waiting"].get("message") or status["state"]["waiting"].get("reason", "")
        for status in pod.get("status", {}).get("containerStatuses", [])
        if "waiting" in status.get("state", {})
    ]
    unmet = [
        str(each.get("message"))
        for each in pod.get("status", {}).get("conditions", [])
        if each["status"] != "True" and each.get("message")
    ]
    return "; ".join([*waiting, *unmet]) or str(pod.get("status", {}).get("phase", "unknown"))
