"""A real engine, the whole way: downloaded, loaded, picked, asked, by Tekton as people run it."""

from __future__ import annotations

import base64
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PIPELINE_RUN, SERVICE
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.waiting import until
from stacks.hub import hub_server
from stacks.hub.hub_server import COMMIT, OWN
from tools.devcluster import engine, extras
from tools.devcluster.gateway import CLASS
from tools.devcluster.layout import layout

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),  # what was not built yet is built
    pytest.mark.skipif(not engine.installed(), reason="needs the extra llamacpp: make engine"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"
PORT = 8080
MEASURED_S = 900.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the tiny model and, in another, its tokenizer."""
    program = runpy.run_path(str(EXAMPLES / "tiny_model.py"))
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
    program["write"](tmp_path / "model/tiny.gguf")
    program["write_tokenizer"](tmp_path / "tokenizer/tokenizer.json")
    return tmp_path


@pytest.fixture
def admin(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An administrator of the cluster."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubectl.kubeconfig))
    with Cluster.connect() as connected:
        yield connected


@pytest.fixture
def home(make_namespace: Callable[..., Any]) -> str:
    """A namespace in which only what is restricted may run."""
    return str(make_namespace({"pod-security.kubernetes.io/enforce": "restricted"}).name)


@pytest.fixture
def hub(
    home: str, admin: Cluster, our_image: str, pod: Callable[..., Any], model: Path
) -> Callable[[], dict[str, Any]]:
    """A Hub that serves the model in the home namespace; gives what it has been asked for."""
    code = Path(hub_server.__file__).read_text(encoding="utf-8")
    weights = base64.b64encode((model / "model/tiny.gguf").read_bytes()).decode()
    contents = {"hub": {"data": {"hub_server.py": code}}, "files": {}}
    contents["files"]["binaryData"] = {"tiny.gguf": weights}
    for name, content in contents.items():
        metadata = {"name": name, "namespace": home}
        admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content})
    served = pod(
        "hub",
        *("python", "/hub/hub_server.py", str(PORT), str(PORT + 1), "/files"),
        image=our_image,
        labels={"app": "hub"},
        container={"volumeMounts": [{"name": n, "mountPath": f"/{n}"} for n in contents]},
        volumes=[{"name": n, "configMap": {"name": n}} for n in contents],
    )
    served["metadata"]["namespace"] = home
    ports = [{"name": f"p{p}", "port": p, "targetPort": p} for p in (PORT, PORT + 1)]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hub", "namespace": home},
        "spec": {"selector": {"app": "hub"}, "ports": ports},
    }
    admin.apply(served)
    admin.apply(service)
    address = (admin.get(SERVICE, "hub", home) or {})["spec"]["clusterIP"]

    def seen() -> dict[str, Any]:
        return dict(ask("GET", f"http://{address}:{PORT}/_seen").json() or {})

    def answers() -> bool:
        try:
            return bool(seen()["trees"] == 0)
        except (Unreachable, KeyError):
            return False

    assert until(answers, 90.0, every_s=0.5)
    return seen


def experiment(home: str, llama: str, parts: dict[str, Any]) -> dict[str, Any]:
    """Describe 2 × 2 workloads on two servers behind a Gateway and a picker."""
    return {
        "name": "engine",
        "model": {"name": "tiny", "tokenizer": "tokenizer"},
        "stack": {
            "kind": "llm-d",
            "gateway": {"mode": "gateway", "class_name": CLASS, "support": "envoy-gateway"},
            "router": {
                "image": parts["epp"].name,
                "config": str(EXAMPLES / "router/queue.yaml"),
                "metrics": "llama-cpp",
            },
            "model": {
                "source": "huggingface",
                "repo": OWN,
                "revision": COMMIT,
                "path": "tiny.gguf",
                "size": "100Mi",
                "endpoint": f"http://hub.{home}.svc:{PORT}",
            },
            "server": {
                "preset": "llama-cpp",
                "image": llama,
                "replicas": 2,
                "args": {"threads": 1, "ctx-size": 8192, "parallel": 2},
            },
        },
        "workload": {
            "kind": "random",
            "prompt": "text",
            "load": {"rate": 4},
            "warmup": "2s",
            "duration": "10s",
        },
        "matrix": {"workload.question_len": [32, 128], "workload.output_len": [8, 24]},
        # llama.cpp has no way to drop its prompt cache and say so.
        "run": {
            "engine": "tekton",
            "isolation": "fresh",
            "cluster": {"namespace": home, "namespaced": True},
        },
    }


def test_a_real_engine_is_measured_behind_a_gateway_and_a_picker(
    home: str, admin: Cluster, our_image: str, hub: Callable[[], dict[str, Any]], model: Path
) -> None:
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    parts = extras.add(layout(), "gateway").images
    llama = extras.add(layout(), "llama").images["llama"]
    file = model / "engine.yaml"
    file.write_text(yaml.safe_dump(experiment(home, llama.name, parts)))
    program = Path(sys.executable).with_name("llmatrix")
    done = subprocess.run(
        [str(program), "run", str(file)],
        env={**os.environ, "LLMATRIX_IMAGE": our_image},
        capture_output=True,
        text=True,
        timeout=MEASURED_S,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    found = sorted((model / "results/engine").glob("*/record.json"))
    records = [json.loads(path.read_bytes()) for path in found]
    assert len(records) == 4, told
    for record in records:
        verdicts = {check["name"]: check["verdict"] for check in record["checks"]}
        assert "fail" not in verdicts.values(), (record["checks"], told)
        assert verdicts["prompt_tokens_exact"] == verdicts["output_tokens_exact"] == "pass"
        assert not record["simulated"]
        assert record["metrics"]["requests_completed"] >= 30
    # Four deployments, one download.
    assert hub()["sent"] == {"tiny.gguf": (model / "model/tiny.gguf").stat().st_size}
    assert find_sites(admin, home, {}).sites == ()
    assert admin.find(PIPELINE_RUN, home, {labels.MANAGED_BY: labels.OURS}) == []
