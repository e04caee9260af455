"""The real picker by its real chart, before simulated servers, by way of Tekton."""

from __future__ import annotations

import os
from typing import Any

import pytest

from e2e.runs import Field, ground
from e2e.sites import admin, judged
from e2e.test_llmd import EXAMPLES
from e2e.test_llmd import EXPERIMENT as PICKERS_EXPERIMENT
from llmatrix.cluster import labels
from llmatrix.stacks.llmd.placeholders import NAMESPACE
from tools.devcluster import extras
from tools.devcluster.layout import layout

__all__ = ["admin", "ground"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
EXPERIMENT: dict[str, Any] = PICKERS_EXPERIMENT | {"name": "charted"}


@pytest.fixture
def parts(cluster: Any) -> Any:
    """What the cluster has for gateways and pickers."""
    del cluster
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    return extras.add(layout(), "gateway")


@pytest.fixture
def charted(ground: Field, parts: Any) -> Field:
    """The experiment behind the picker of the chart; the trial is tried once."""
    hub, _, picker = parts.images["epp"].name.rpartition("/")
    name, _, tag = picker.partition(":")
    chart = {
        "source": str(parts.programs["gaie"] / "manifests/charts/inferencepool"),
        "values": {
            "inferencePool": {"modelServers": {"matchLabels": {labels.STEP: "server"}}},
            "inferenceExtension": {
                "image": {"hub": hub, "name": name, "tag": tag, "pullPolicy": "IfNotPresent"},
                "flags": {"kv-cache-usage-percentage-metric": "vllm:kv_cache_usage_perc"},
            },
        },
    }
    ground.document["stack"] = {
        "kind": "llm-d",
        "gateway": {"proxy": {"image": parts.images["envoy"].name}},
        "router": {"chart": chart},
        "server": {"simulated": True, "replicas": 2},
    }
    ground.document["run"]["retries"] = 0
    return ground


@pytest.mark.parametrize("namespaced", [True, False], ids=["namespaced", "own-namespace"])
def test_a_trial_behind_the_picker_of_the_chart_is_valid_and_leaves_nothing(
    charted: Field,
    parts: Any,
    namespaced: bool,  # noqa: FBT001
) -> None:
    charted.document["run"]["cluster"]["namespaced"] = namespaced
    charted.done(LLMATRIX_HELM=str(parts.programs["helm"] / "helm"))
    (record,) = charted.records()
    judged(record, "cache_clean", "error_share", "output_tokens_exact", "server_restarts")
    assert (charted.folder / "llmatrix.lock").exists()
    charted.nothing_left()


def test_what_presets_make_can_be_brought_as_manifests(charted: Field, parts: Any) -> None:
    """Gateway and servers as files of manifests, between them a picker by our preset."""
    folder, stack = charted.folder, charted.document["stack"]
    picker = parts.images["epp"].name
    stack["router"] = {"image": picker, "config": str(EXAMPLES / "router/queue.yaml")}
    charted.done("plan", str(charted.file), "--render", str(folder / "presets"))
    (rendered,) = (folder / "presets").iterdir()
    for layer in ("gateway", "server"):
        text = (rendered / f"{layer}.yaml").read_text()
        (folder / f"{layer}.yaml").write_text(text.replace("llmatrix-charted", NAMESPACE))
        stack[layer] = {"manifests": [f"{layer}.yaml"]}
    charted.done()
    (record,) = charted.records()
    judged(record, "cache_clean")
    charted.nothing_left()
