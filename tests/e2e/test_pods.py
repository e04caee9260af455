"""Containers, volumes, services and names are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Describe = Callable[..., dict[str, Any]]


def test_a_volume_outlives_the_pod_that_wrote_to_it(namespace: Any, pod: Describe) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    volumes = [{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]
    mounted = {"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    write = ("sh", "-c", "echo written as $(id -u) > /kept/word")
    namespace.apply(claim, pod("writer", *write, container=mounted, volumes=volumes))
    namespace.pod_ended("writer")
    namespace.run("delete", "pod", "writer")
    namespace.apply(pod("reader", "cat", "/kept/word", container=mounted, volumes=volumes))
    assert namespace.pod_ended("reader") == "written as 65532\n"
    assert namespace.get("pvc", "kept")["status"]["phase"] == "Bound"


def test_a_service_is_found_by_its_name(
    namespace: Any,
    make_namespace: Callable[[], Any],
    our_image: str,
    pod: Describe,
    service: Describe,
) -> None:
    serve = ("sh", "-c", "echo hello > /tmp/index.html && exec httpd -f -p 8080 -h /tmp")
    temporary = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    volumes = [{"name": "tmp", "emptyDir": {}}]
    server = pod("web", *serve, container=temporary, volumes=volumes, labels={"app": "web"})
    namespace.apply(service("web", 8080), server)
    namespace.until(_ready, "pod", "web")
    elsewhere = make_namespace()
    url = f"http://web.{namespace.name}.svc.cluster.local"
    # The shell's image cannot ask: its statically linked wget crashes.
    ask = "import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())"
    elsewhere.apply(pod("client", "python", "-c", ask, url, image=our_image))
    assert elsewhere.pod_ended("client").strip() == "hello"


def test_our_server_answers_through_a_service(
    namespace: Any, our_image: str, pod: Describe, service: Describe
) -> None:
    serve = ("python", "-m", "llmatrix.sim", "serve", "--model=Qwen/Qwen3-0.6B")
    server = pod(
        "model",
        *serve,
        "--host=0.0.0.0",
        "--port=8000",
        image=our_image,
        container={"readinessProbe": {"httpGet": {"path": "/health", "port": 8000}}},
        labels={"app": "model"},
    )
    namespace.apply(service("model", 8000), server)
    namespace.until(_ready, "pod", "model")
    body = json.dumps({"model": "Qwen/Qwen3-0.6B", "prompt": "one two three", "max_tokens": 4})
    ask = (
        "import sys, urllib.request; "
        "request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), "
        "{'Content-Type': 'application/json'}); "
        "print(urllib.request.urlopen(request, timeout=20).read().decode())"
    )
    command = ("python", "-c", ask, "http://model/v1/completions", body)
    namespace.apply(pod("client", *command, image=our_image))
    answer = json.loads(namespace.pod_ended("client"))
    assert answer["usage"]["completion_tokens"] == 4


def _ready(pod: dict[str, Any]) -> bool:
    found = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found)
