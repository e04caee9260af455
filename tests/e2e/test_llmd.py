"""The llm-d stack on a real cluster: simulated servers, the real picker, the real Envoy.

The steps are driven from this process, by an account that has exactly the rights that they need.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.sites import (
    account,
    admin,
    apart,
    applied,
    carry,
    home,
    judged,
    make_site,
    nobody_stops,
    planned,
    removed,
    rights,
    role,
    shared,
)
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import POD
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.results.record import Record
from llmatrix.stacks.http import ask
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd.stack import Llmd
from stacks.conformance import converge, make_trial
from tools.devcluster import extras
from tools.devcluster.layout import layout

__all__ = [
    "account", "admin", "apart", "carry", "home", "make_site", "planned", "rights", "role",
    "shared",
]  # fmt: skip
STACKS = ("llm-d",)
"""Whose rights the account of the steps has here."""
EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
EXPERIMENT: dict[str, Any] = {
    "name": "pickers",
    "model": {"name": "tiny-1B", "tokenizer": "words"},
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
    "run": {"engine": "tekton", "retries": 0},
}
PICKERS = {"stack.router.config": [str(EXAMPLES / f"router/{n}.yaml") for n in ("prefix", "queue")]}


@pytest.fixture
def images(cluster: Any) -> dict[str, str]:
    """Names of the images of picker and Envoy in the cluster."""
    del cluster
    if os.environ.get("LLMATRIX_E2E_KUBECONFIG"):
        pytest.skip("the gateway's parts are built here and loaded into our own cluster only")
    added = extras.add(layout(), "gateway")
    return {name: added.images[name].name for name in ("epp", "envoy")}


@pytest.fixture
def section(images: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Describe the stack: ``section(router={...}, server={...}, ...)`` over the usual one."""

    def describe(**more: dict[str, Any]) -> dict[str, Any]:
        config = {"text": (EXAMPLES / "router/queue.yaml").read_text(), "name": "queue.yaml"}
        return {
            "kind": "llm-d",
            "gateway": {"proxy": {"image": images["envoy"]}, **more.get("gateway", {})},
            "router": {"image": images["epp"], "config": config} | more.get("router", {}),
            "server": {"simulated": True, "replicas": 2} | more.get("server", {}),
        }

    return describe


def pods(site: KubernetesSite, admin: Cluster) -> dict[str, set[str]]:
    """Give the uids of the site's pods by step."""
    found: dict[str, set[str]] = {}
    for pod in admin.find(POD, site.namespace, {labels.SITE: site.address.name}):
        marks = pod["metadata"]["labels"]
        found.setdefault(marks[labels.STEP], set()).add(pod["metadata"]["uid"])
    return found


def test_a_level_of_the_picker_restarts_the_picker_only(
    section: Callable[..., Any],
    apart: KubernetesSite,
    admin: Cluster,
    planned: Callable[..., Plan],
    carry: Callable[..., list[Record]],
) -> None:
    described = section()
    del described["router"]["config"]
    plan = planned(EXPERIMENT | {"stack": described, "matrix": PICKERS})
    seen: dict[str, set[str]] = {}

    def look() -> None:
        for step, uids in pods(apart, admin).items():
            seen.setdefault(step, set()).update(uids)

    records = carry(plan, apart, look)
    times = applied(records)
    assert times[Step.SERVER] == times[Step.GATEWAY] == 1
    assert times[Step.ROUTER] == 2
    assert {step: len(uids) for step, uids in seen.items()} == {
        "gateway": 1,
        "router": 2,
        "server": 2,
    }
    for record in records:
        assert record.simulated
        judged(
            record,
            "cache_clean",
            "error_share",
            "prompt_tokens_exact",
            "output_tokens_exact",
            "server_restarts",
        )
    removed(Llmd(), apart, admin)


def test_a_site_in_a_shared_namespace_leaves_nothing(
    section: Callable[..., Any], shared: KubernetesSite, admin: Cluster
) -> None:
    """Its namespace enforces the restricted standard; the picker's own rights go, too."""
    stack = Llmd()
    prefix = {"text": (EXAMPLES / "router/prefix.yaml").read_text(), "name": "prefix.yaml"}
    trial = make_trial(section(router={"config": prefix}))
    converge(stack, trial, shared)
    target = stack.target(trial, shared)
    assert target.simulated
    assert len(target.metrics_urls) == 2
    for url in (*target.metrics_urls, str(target.router_metrics_url)):
        assert ask("GET", url).status == 200
    logs = stack.logs(shared)
    assert Counter(name.partition("-")[0] for name in logs) == {
        "gateway": 1,
        "picker": 1,
        "server": 2,
    }
    assert all("serving" in text for name, text in logs.items() if name.startswith("server"))
    before = pods(shared, admin)
    hygiene = stack.cleanse(trial, shared, frozenset())
    assert hygiene.clean is True, hygiene
    assert pods(shared, admin) == before
    # What a picker has learnt about prefixes goes only with the picker itself, so if these very
    # prompts are to come once more, it goes, too.
    hygiene = stack.cleanse(trial, shared, frozenset())
    assert hygiene.detail.endswith("the picker has just been started: it had met these prompts")
    after = pods(shared, admin)
    assert before["server"] == after["server"]
    assert before["router"].isdisjoint(after["router"])
    assert stack.restarts(trial, shared) == 0
    victim = admin.find(POD, shared.namespace, {labels.STEP: "server"})[0]
    admin.delete(POD, victim["metadata"]["name"], shared.namespace, grace_s=1)
    assert not stack.healthy(Step.SERVER, trial, shared)
    assert stack.healthy(Step.ROUTER, trial, shared)
    stack.apply(Step.SERVER, trial, shared, nobody_stops())
    assert stack.restarts(trial, shared) == 0
    removed(stack, shared, admin)


def test_without_a_gateway_requests_go_to_the_servers(
    section: Callable[..., Any], shared: KubernetesSite, admin: Cluster
) -> None:
    stack = Llmd()
    described = section(gateway={"mode": "none"})
    del described["router"]
    trial = make_trial(described)
    converge(stack, trial, shared)
    assert set(pods(shared, admin)) == {"server"}
    target = stack.target(trial, shared)
    assert target.router_metrics_url is None
    body = {"model": target.model, "prompt": [5] * 40, "max_tokens": 7, "ignore_eos": True}
    answer = ask("POST", f"{target.base_url}/v1/completions", document=body, timeout_s=30)
    assert answer.json()["usage"]["completion_tokens"] == 7
    assert stack.cleanse(trial, shared, frozenset()).clean is True
    removed(stack, shared, admin)


def test_a_picker_that_cannot_see_the_load_is_told(
    section: Callable[..., Any], shared: KubernetesSite
) -> None:
    stack = Llmd()
    flags = {"kv-cache-usage-percentage-metric": "vllm:gpu_cache_usage_perc"}
    trial = make_trial(section(router={"flags": flags}, server={"replicas": 1}))
    with pytest.raises(StepFailure, match="goes by vllm:gpu_cache_usage_perc, which http") as told:
        converge(stack, trial, shared)
    assert told.value.failure is FailureClass.USER
    assert shared.claimed(Step.SERVER) is None


def test_a_picker_that_ends_says_why(section: Callable[..., Any], shared: KubernetesSite) -> None:
    stack = Llmd()
    text = (EXAMPLES / "router/queue.yaml").read_text().replace("queue-scorer", "our-scorer")
    trial = make_trial(
        section(router={"config": {"text": text, "name": "x"}, "plugins": ["our-scorer"]})
    )
    stack.check(trial.treatment.model_copy(update={"workload": _text(trial)}))
    with pytest.raises(StepFailure, match="container picker ended") as told:
        converge(stack, trial, shared)
    assert "plugin type 'our-scorer' is not found" in f"{told.value}{told.value.log}"


def _text(trial: Any) -> Any:
    return trial.treatment.workload.model_copy(update={"prompt": "text"})
