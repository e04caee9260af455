"""The llm-d stack behind a real Gateway: Envoy Gateway, the real picker, simulated servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

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
from e2e.test_llmd import EXAMPLES, EXPERIMENT, PICKERS, images, pods, section
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.facts import GATEWAY
from llmatrix.cluster.kinds import DEPLOYMENT, SERVICE
from llmatrix.engines.tekton.gateways import check
from llmatrix.engines.tekton.sites import find_sites, remove
from llmatrix.errors import EnvironmentFault, FailureClass, StepFailure
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.results.record import Record
from llmatrix.stacks.http import ask
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd.stack import Llmd
from stacks.conformance import converge, make_trial
from tools.devcluster.gateway import CLASS, NAMESPACE

__all__ = [
    "account", "admin", "apart", "carry", "home", "images", "make_site", "planned", "rights",
    "role", "section", "shared",
]  # fmt: skip
STACKS = ("llm-d", "llm-d-gateway", "llm-d-envoy-gateway")
"""Whose rights the account of the steps has here."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
GATE: Final = {"mode": "gateway", "class_name": CLASS, "support": "envoy-gateway"}


def proxies(admin: Cluster, of: str) -> list[str]:
    """Name what Envoy Gateway has standing for the Gateways of a namespace."""
    owner = {"gateway.envoyproxy.io/owning-gateway-namespace": of}
    return [
        f"{kind.name} {each['metadata']['name']}"
        for kind in (DEPLOYMENT, SERVICE)
        for each in admin.find(kind, NAMESPACE, owner)
    ]


def test_trials_pass_a_gateway_and_the_picker(
    section: Callable[..., Any],
    apart: KubernetesSite,
    admin: Cluster,
    planned: Callable[..., Plan],
    carry: Callable[..., list[Record]],
) -> None:
    described = section(gateway=GATE)
    del described["router"]["config"]
    plan = planned(EXPERIMENT | {"stack": described, "matrix": PICKERS})
    check(admin, plan)
    gates: set[str] = set()
    records = carry(
        plan,
        apart,
        lambda: gates.update(e["metadata"]["uid"] for e in admin.find(GATEWAY, apart.namespace)),
    )
    times = applied(records)
    assert times[Step.SERVER] == times[Step.GATEWAY] == 1
    assert times[Step.ROUTER] == 2
    assert len(gates) == 1
    for record in records:
        judged(record, "cache_clean", "error_share", "prompt_tokens_exact", "output_tokens_exact")
    assert proxies(admin, apart.namespace)
    removed(Llmd(), apart, admin)
    assert proxies(admin, apart.namespace) == []


def test_each_request_goes_where_the_picker_says(
    section: Callable[..., Any], shared: KubernetesSite, admin: Cluster
) -> None:
    """In a shared namespace; and whoever looks for what was left there finds all of it."""
    stack = Llmd()
    prefix = {"text": (EXAMPLES / "router/prefix.yaml").read_text(), "name": "prefix.yaml"}
    trial = make_trial(section(gateway=GATE, router={"config": prefix}))
    converge(stack, trial, shared)
    target = stack.target(trial, shared)
    body = {"model": target.model, "prompt": "once upon a time " * 80, "max_tokens": 4}
    for _ in range(10):
        answer = ask("POST", f"{target.base_url}/v1/completions", document=body, timeout_s=30)
        assert answer.status == 200
    finished = sorted(served(url) for url in target.metrics_urls)
    # One prefix belongs to one server; chance would spread these over both. (Another request
    # asked, before, whether the parts work together.)
    assert finished[1] >= 10
    assert finished[0] <= 2
    assert set(pods(shared, admin)) == {"router", "server"}
    assert stack.cleanse(trial, shared, frozenset()).clean is True
    assert stack.healthy(Step.GATEWAY, trial, shared)
    found = find_sites(admin, shared.namespace, {})
    (site,) = found.sites
    assert {each.kind.name for each in site.pieces} >= {
        "Backend", "ConfigMap", "Deployment", "EnvoyExtensionPolicy", "EnvoyPatchPolicy",
        "Gateway", "HTTPRoute", "InferencePool", "Role", "RoleBinding", "Service", "ServiceAccount",
    }  # fmt: skip
    assert remove(admin, site.pieces, 90.0, stop=nobody_stops()) == []
    assert find_sites(admin, shared.namespace, {}).sites == ()
    removed(stack, shared, admin)


def served(metrics: str) -> int:
    """Count the requests that a server has finished."""
    text = ask("GET", metrics).body.decode()
    rows = (row for row in text.splitlines() if row.startswith("vllm:request_success_total{"))
    return int(sum(float(row.rpartition(" ")[2]) for row in rows))


def test_a_class_that_knows_no_pools_is_told(
    section: Callable[..., Any],
    shared: KubernetesSite,
    admin: Cluster,
    planned: Callable[..., Plan],
) -> None:
    pooled = GATE | {"support": "inference-pool"}
    described = section(gateway=pooled)
    with pytest.raises(EnvironmentFault, match=r"set stack\.gateway\.support: envoy-gateway"):
        check(admin, planned(EXPERIMENT | {"stack": described}))
    stack = Llmd()
    trial = make_trial(described)
    stack.apply(Step.NAMESPACE, trial, shared, nobody_stops())
    with pytest.raises(StepFailure, match=r"ResolvedRefs \(InvalidKind: .*InferencePool") as told:
        stack.apply(Step.GATEWAY, trial, shared, nobody_stops())
    assert told.value.failure is FailureClass.USER
    assert admin.find(GATEWAY, shared.namespace) == []
    removed(stack, shared, admin)
