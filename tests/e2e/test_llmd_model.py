"""A model downloaded into a claim on a real cluster, from a Hub that runs there as a pod.

The steps are driven from this process, by an account that has exactly the rights that they need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from e2e.hubs import PATIENCE_S, ServedHub, put_token, serve_hub
from e2e.sites import (
    ACCOUNT,
    account,
    admin,
    apart,
    carry,
    home,
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
from llmatrix.cluster.kinds import JOB, PERSISTENT_VOLUME_CLAIM, POD, SECRET
from llmatrix.cluster.logs import tail
from llmatrix.engines.tekton import gc, roles, unwanted
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.results.record import Outcome, Record
from llmatrix.stacks.hub.wanted import Wanted
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd.stack import Llmd
from llmatrix.stacks.waiting import until
from stacks.conformance import make_trial
from stacks.hub.hub_server import COMMIT, GOOD_TOKEN, TINY, tiny_model

__all__ = [
    "account", "admin", "apart", "carry", "home", "make_site", "planned", "put_token", "rights",
    "role", "serve_hub", "shared",
]  # fmt: skip
STACKS = ("llm-d", "llm-d-token")
"""Whose rights the account of the steps has here."""
GATED = "tiny-org/gated"
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
EXPERIMENT: dict[str, Any] = {
    "name": "downloads",
    "model": {"name": "tiny-1B"},
    "workload": {
        "kind": "random",
        "question_len": 16,
        "output_len": 4,
        "load": {"rate": 10},
        "warmup": "0s",
        "duration": "3s",
    },
    "matrix": {"workload.question_len": [16, 32]},
    "run": {"engine": "tekton", "retries": 0},
}


@pytest.fixture
def hub(home: str, serve_hub: Callable[[str], ServedHub]) -> ServedHub:
    """A Hub in the home namespace."""
    return serve_hub(home)


def let_read(admin: Cluster, home: str) -> None:
    """Give the account the right to read that secret, as `roles` does."""
    version = "rbac.authorization.k8s.io/v1"
    admin.apply(
        {
            "apiVersion": version,
            "kind": "Role",
            "metadata": {"name": "token", "namespace": home},
            "rules": roles.of_token("hf-secret"),
        }
    )
    admin.apply(
        {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": {"name": "token", "namespace": home},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "token",
            },
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": home}],
        }
    )


def section(hub: ServedHub, repo: str, **model: Any) -> dict[str, Any]:
    files = {"source": "huggingface", "repo": repo, "revision": COMMIT, "size": "100Mi"}
    return {
        "kind": "llm-d",
        "gateway": {"mode": "none"},
        "model": files | {"endpoint": hub.url} | model,
        "server": {"simulated": True},
    }


def sums(site: KubernetesSite, admin: Cluster, pod: Callable[..., Any], claim: str) -> set[str]:
    """Give what ``sha256sum`` says of all files on a claim, seen from a pod of the site."""
    described = pod(
        "looks",
        *("sh", "-c", "cd /models && find . -type f | grep -v llmatrix | xargs sha256sum"),
        container={"volumeMounts": [{"name": "m", "mountPath": "/models", "readOnly": True}]},
        volumes=[{"name": "m", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}],
    )
    described["metadata"]["namespace"] = site.namespace
    admin.apply(described)

    def over() -> bool:
        found = admin.get(POD, "looks", site.namespace) or {}
        return found.get("status", {}).get("phase") in {"Succeeded", "Failed"}

    assert until(over, PATIENCE_S, every_s=0.5)
    printed = tail(admin, "looks", site.namespace)
    admin.delete(POD, "looks", site.namespace)
    return {" ".join(line.split()) for line in printed.splitlines()}


def expected(repo: str) -> set[str]:
    folder = Wanted(repo, COMMIT).folder
    return {
        f"{hashlib.sha256(data).hexdigest()} ./{folder}/{path}"
        for path, data in tiny_model().files.items()
    }


def test_a_lane_downloads_each_model_once_and_leaves_no_token(
    hub: ServedHub,
    apart: KubernetesSite,
    admin: Cluster,
    home: str,
    pod: Callable[..., Any],
    put_token: Callable[[str, str], None],
) -> None:
    stack = Llmd()
    gated = make_trial(section(hub, GATED, token={}))
    tiny = make_trial(section(hub, TINY))
    stack.apply(Step.NAMESPACE, gated, apart, nobody_stops())
    let_read(admin, home)
    with pytest.raises(StepFailure, match="there is no secret hf-secret with a key HF_TOKEN"):
        stack.apply(Step.MODEL, gated, apart, nobody_stops())
    put_token(home, "hf_wrong")
    with pytest.raises(StepFailure, match=r"does not know the token \(401\)") as caught:
        stack.apply(Step.MODEL, gated, apart, nobody_stops())
    assert caught.value.failure is FailureClass.USER
    put_token(home, GOOD_TOKEN)
    said: list[str] = []
    apart.said = said.append
    for trial in (gated, tiny, gated):
        stack.apply(Step.MODEL, trial, apart, nobody_stops())
        assert stack.healthy(Step.MODEL, trial, apart)
    assert said[-1].endswith("all there already")
    # Two models, each file sent once for each.
    twice = {path: 2 * size for path, size in tiny_model().sizes().items()}
    assert hub.seen()["sent"] == twice
    (claim,) = admin.find(PERSISTENT_VOLUME_CLAIM, apart.namespace)
    name = claim["metadata"]["name"]
    assert sums(apart, admin, pod, name) == expected(GATED) | expected(TINY)
    assert admin.find(SECRET, apart.namespace) == []
    assert admin.find(JOB, apart.namespace) == []
    absent = make_trial(section(hub, TINY, revision="a" * 40))
    with pytest.raises(StepFailure, match="has no revision aaaa") as caught:
        stack.apply(Step.MODEL, absent, apart, nobody_stops())
    assert caught.value.failure is FailureClass.USER
    removed(stack, apart, admin)


def test_two_trials_share_a_download_and_the_next_site_does_too(
    hub: ServedHub,
    shared: KubernetesSite,
    make_site: Callable[..., KubernetesSite],
    admin: Cluster,
    home: str,
    put_token: Callable[[str, str], None],
    planned: Callable[..., Plan],
    carry: Callable[..., list[Record]],
) -> None:
    """The namespace enforces the restricted standard; the claim outlives the site, until gc."""
    put_token(home, GOOD_TOKEN)
    plan = planned(EXPERIMENT | {"stack": section(hub, GATED, token={})})
    records = carry(plan, shared)
    outcomes = [e.outcome for record in records for e in record.steps if e.step == Step.MODEL]
    assert outcomes == [Outcome.APPLIED, Outcome.UNCHANGED]
    removed(Llmd(), shared, admin)
    once = tiny_model().sizes()
    assert hub.seen() == {"trees": 1, "sent": once}
    kept = {labels.COMPONENT: "model"}
    (claim,) = admin.find(PERSISTENT_VOLUME_CLAIM, home, kept)
    other = make_site(False)
    trial = plan.trial(0)
    Llmd().apply(Step.NAMESPACE, trial, other, nobody_stops())
    Llmd().apply(Step.MODEL, trial, other, nobody_stops())
    assert hub.seen() == {"trees": 1, "sent": once}
    removed(Llmd(), other, admin)
    found, unseen = gc.look(admin, home)
    assert unseen == ()
    found = replace(found, bindings=())  # of the whole cluster; other tests may have left some
    before = unwanted.decide(found, other.address.expires - 1)
    assert [each.told for each in before.remove] == []
    late = unwanted.decide(found, other.address.expires + 1)
    assert [each.told for each in late.remove] == [f"claim {claim['metadata']['name']}"]
    assert gc.carry_out(admin, home, late, say=lambda _: None, stop=nobody_stops()) == []
    assert admin.find(PERSISTENT_VOLUME_CLAIM, home, kept) == []
