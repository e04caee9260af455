"""A real engine, the whole way: downloaded, loaded, picked, asked, by Tekton as people run it."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.hubs import ServedHub, serve_hub
from e2e.runs import Field, ground
from e2e.sites import admin, judged
from llmatrix.stacks.llmd.model import COMPONENT
from stacks.hub.hub_server import COMMIT, OWN
from tools.devcluster import engine, extras
from tools.devcluster.gateway import CLASS
from tools.devcluster.layout import layout

__all__ = ["admin", "ground", "serve_hub"]
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),  # what was not built yet is built
    pytest.mark.skipif(not engine.installed(), reason="needs the extra llamacpp: make engine"),
]
EXPERIMENT: dict[str, Any] = {}
"""Described once the Hub's address is known."""
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the tiny model; its tokenizer lies in one beside the experiment."""
    program = runpy.run_path(str(EXAMPLES / "tiny_model.py"))
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
    program["write"](tmp_path / "model/tiny.gguf")
    program["write_tokenizer"](tmp_path / "tokenizer/tokenizer.json")
    return tmp_path / "model"


def experiment(home: str, hub: str, llama: str, parts: dict[str, Any]) -> dict[str, Any]:
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
                "endpoint": hub,
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
            "load": {"rate": 5, "arrivals": "constant"},
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
    ground: Field, serve_hub: Callable[..., ServedHub], model: Path
) -> None:
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    parts = extras.add(layout(), "gateway").images
    llama = extras.add(layout(), "llama").images["llama"]
    weights = model / "tiny.gguf"
    hub = serve_hub(ground.home, weights)
    ground.document = experiment(ground.home, hub.url, llama.name, parts)
    ground.done()
    records = ground.records()
    assert len(records) == 4, ground.log()
    for record in records:
        judged(record, "prompt_tokens_exact", "output_tokens_exact", "error_share", "cache_clean")
        assert not [c for c in record["checks"] if c["verdict"] == "fail"], record["checks"]
        assert not record["simulated"]
    # Four deployments, one download.
    assert hub.seen()["sent"] == {weights.name: weights.stat().st_size}
    ground.nothing_left(COMPONENT)
