"""The real picker by its real chart, before simulated servers, by way of Tekton."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    PIPELINE_RUN,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
)
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.stacks.llmd.placeholders import NAMESPACE
from tools.devcluster import extras
from tools.devcluster.layout import layout

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def experiment(cluster: Any, our_image: str) -> Callable[..., dict[str, Any]]:
    """Describe the experiment: ``experiment(namespace, namespaced)``."""
    del cluster
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    added = extras.add(layout(), "gateway")
    hub, _, picker = added.images["epp"].name.rpartition("/")
    name, _, tag = picker.partition(":")
    chart = {
        "source": str(added.programs["gaie"] / "manifests/charts/inferencepool"),
        "values": {
            "inferencePool": {"modelServers": {"matchLabels": {labels.STEP: "server"}}},
            "inferenceExtension": {
                "image": {"hub": hub, "name": name, "tag": tag, "pullPolicy": "IfNotPresent"},
                "flags": {"kv-cache-usage-percentage-metric": "vllm:kv_cache_usage_perc"},
            },
        },
    }

    def describe(namespace: str, namespaced: bool) -> dict[str, Any]:  # noqa: FBT001
        cluster = {"namespace": namespace, "namespaced": namespaced, "image": our_image}
        return {
            "name": "charted",
            "model": {"name": "tiny-1B", "tokenizer": "words"},
            "stack": {
                "kind": "llm-d",
                "gateway": {"proxy": {"image": added.images["envoy"].name}},
                "router": {"chart": chart},
                "server": {"simulated": True, "replicas": 2},
            },
            "workload": {
                "kind": "shared-prefix",
                "groups": 4,
                "prefix_len": 256,
                "question_len": 16,
                "output_len": 8,
                "prompt": "text",
                "load": {"rate": 10},
                "warmup": "0s",
                "duration": "4s",
            },
            "run": {"engine": "tekton", "retries": 0, "cluster": cluster},
            "results": {"store": "results/"},
        }

    return describe


@pytest.mark.parametrize("namespaced", [True, False], ids=["namespaced", "own-namespace"])
def test_a_trial_behind_the_picker_of_the_chart_is_valid_and_leaves_nothing(
    experiment: Callable[..., dict[str, Any]],
    make_namespace: Callable[..., Any],
    llmatrix: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    namespaced: bool,  # noqa: FBT001
) -> None:
    home = make_namespace()
    monkeypatch.setenv("KUBECONFIG", str(home.cluster.kubectl.kubeconfig))
    (tmp_path / "e.yaml").write_text(json.dumps(experiment(home.name, namespaced)))
    helm = extras.add(layout(), "gateway").programs["helm"] / "helm"
    said = llmatrix("run", "e.yaml", LLMATRIX_HELM=str(helm))
    assert said.code == 0, said.err
    (file,) = (tmp_path / "results/charted").glob("*/record.json")
    record = json.loads(file.read_text())
    verdicts = {check["name"]: check["verdict"] for check in record["checks"]}
    assert record["metrics"]["requests_completed"] > 20
    for name in ("cache_clean", "error_share", "output_tokens_exact", "server_restarts"):
        assert verdicts[name] == "pass", record["checks"]
    assert (tmp_path / "llmatrix.lock").exists()
    nothing_left(home.name)


def nothing_left(home: str) -> None:
    """See that only the account of the steps is left in a home namespace."""
    with Cluster.connect() as cluster:
        assert find_sites(cluster, home, {}).sites == ()
        ours = {labels.MANAGED_BY: labels.OURS}
        for kind in (PIPELINE_RUN, POD, CONFIG_MAP, DEPLOYMENT, SERVICE):
            found = cluster.find(kind, home, ours)
            assert [each["metadata"]["name"] for each in found] == [], kind
        accounts = cluster.find(SERVICE_ACCOUNT, home, ours)
        assert [each["metadata"]["name"] for each in accounts] == ["llmatrix"]


def test_what_presets_make_can_be_brought_as_manifests(
    experiment: Callable[..., dict[str, Any]],
    make_namespace: Callable[..., Any],
    llmatrix: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gateway and servers as files of manifests, between them a picker by our preset."""
    home = make_namespace()
    monkeypatch.setenv("KUBECONFIG", str(home.cluster.kubectl.kubeconfig))
    document = experiment(home.name, False)
    queue = Path(__file__).parents[2] / "examples/router/queue.yaml"
    picker = extras.add(layout(), "gateway").images["epp"].name
    document["stack"]["router"] = {"image": picker, "config": str(queue)}
    (tmp_path / "presets.yaml").write_text(json.dumps(document))
    said = llmatrix("plan", "presets.yaml", "--render", "presets")
    assert said.code == 0, said.err
    (folder,) = (tmp_path / "presets").iterdir()
    for layer in ("gateway", "server"):
        text = (folder / f"{layer}.yaml").read_text()
        (tmp_path / f"{layer}.yaml").write_text(text.replace("llmatrix-charted", NAMESPACE))
        document["stack"][layer] = {"manifests": [f"{layer}.yaml"]}
    (tmp_path / "e.yaml").write_text(json.dumps(document))
    said = llmatrix("run", "e.yaml")
    assert said.code == 0, said.err
    (file,) = (tmp_path / "results/charted").glob("*/record.json")
    record = json.loads(file.read_text())
    assert record["metrics"]["requests_completed"] > 20
    assert {c["name"]: c["verdict"] for c in record["checks"]}["cache_clean"] == "pass"
    nothing_left(home.name)
