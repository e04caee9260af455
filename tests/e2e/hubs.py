"""A Hugging Face Hub of our own, served to the pods of a cluster."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import SERVICE
from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.waiting import until
from stacks.hub import hub_server

PORT = 8080
PATIENCE_S = 90.0


@dataclass(frozen=True)
class ServedHub:
    """A Hub that runs as a pod of a namespace."""

    cluster: Cluster
    namespace: str

    @property
    def url(self) -> str:
        """Where pods reach it."""
        return f"http://hub.{self.namespace}.svc:{PORT}"

    def seen(self) -> dict[str, Any]:
        """Give what it has been asked for: listings, and bytes sent by file."""
        found = self.cluster.get(SERVICE, "hub", self.namespace) or {}
        address = found["spec"]["clusterIP"]
        return dict(ask("GET", f"http://{address}:{PORT}/_seen").json() or {})

    def answers(self) -> bool:
        try:
            # Until the Service has a pod, something else may answer for its address.
            return self.seen() == {"trees": 0, "sent": {}}
        except Unreachable:
            return False


@pytest.fixture
def serve_hub(admin: Cluster, our_image: str, pod: Callable[..., Any]) -> Callable[..., ServedHub]:
    """Serve a Hub in a namespace, whose end it has: ``serve_hub(namespace, *files)``.

    The files, of a mebibyte at most, are those of one more model, ``hub_server.OWN``.
    """

    def serve(namespace: str, *files: Path) -> ServedHub:
        code = Path(hub_server.__file__).read_text(encoding="utf-8")
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "hub", "namespace": namespace},
            "data": {"hub_server.py": code},
        }
        lying = {each.name: base64.b64encode(each.read_bytes()).decode() for each in files}
        own = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "hub-files", "namespace": namespace},
            "binaryData": lying,
        }
        volumes = {"hub": "/hub", **({"hub-files": "/files"} if files else {})}
        served = pod(
            "hub",
            *("python", "/hub/hub_server.py", str(PORT), str(PORT + 1)),
            *(["/files"] if files else []),
            image=our_image,
            labels={"app": "hub"},
            container={"volumeMounts": [{"name": n, "mountPath": p} for n, p in volumes.items()]},
            volumes=[{"name": name, "configMap": {"name": name}} for name in volumes],
        )
        served["metadata"]["namespace"] = namespace
        ports = [{"name": f"p{p}", "port": p, "targetPort": p} for p in (PORT, PORT + 1)]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hub", "namespace": namespace},
            "spec": {"selector": {"app": "hub"}, "ports": ports},
        }
        for each in (config, own, served, service):
            admin.apply(each)
        hub = ServedHub(admin, namespace)
        assert until(hub.answers, PATIENCE_S, every_s=0.5)
        return hub

    return serve


@pytest.fixture
def put_token(admin: Cluster) -> Callable[[str, str], None]:
    """Have the secret of people who download hold a token: ``put_token(namespace, token)``."""

    def put(namespace: str, token: str) -> None:
        value = base64.b64encode(token.encode()).decode()
        admin.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "hf-secret", "namespace": namespace},
                "data": {"HF_TOKEN": value},
            }
        )

    return put
