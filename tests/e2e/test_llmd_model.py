"""A model downloaded into a claim on a real cluster, from a Hub that runs there as a pod.

The steps are driven from this process, by an account that has exactly the rights that they need.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.sites import (
    ACCOUNT,
    account,
    admin,
    apart,
    home,
    make_site,
    nobody_stops,
    rights,
    role,
    shared,
)
from llmatrix.cli.prepare import versions
from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import JOB, PERSISTENT_VOLUME_CLAIM, POD, SECRET, SERVICE
from llmatrix.engines.tekton import gc, roles
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.harness.registry import harness
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.results.folder import FolderStore
from llmatrix.results.record import Outcome, Record
from llmatrix.spec.load import load
from llmatrix.stacks import registry
from llmatrix.stacks.http import Unreachable, ask
from llmatrix.stacks.hub.wanted import Wanted
from llmatrix.stacks.kubernetes_site import KubernetesSite
from llmatrix.stacks.llmd.stack import Llmd
from llmatrix.stacks.waiting import until
from llmatrix.steps.converge import converge as carry
from llmatrix.steps.run import TrialRun
from stacks.conformance import make_trial
from stacks.hub import hub_server
from stacks.hub.hub_server import COMMIT, GOOD_TOKEN, TINY, tiny_model

__all__ = ["account", "admin", "apart", "home", "make_site", "rights", "role", "shared"]
STACKS = ("llm-d", "llm-d-token")
"""Whose rights the account of the steps has here."""
GATED = "tiny-org/gated"
PORT = 8080
PATIENCE_S = 90.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
EXPERIMENT = """\
name: downloads
model: {name: tiny-1B}
workload:
  kind: random
  question_len: 16
  output_len: 4
  load: {rate: 10}
  warmup: 0s
  duration: 3s
matrix:
  workload.question_len: [16, 32]
run: {engine: tekton, retries: 0}
"""


@pytest.fixture
def hub(home: str, admin: Cluster, our_image: str, pod: Callable[..., Any]) -> str:
    """The base URL of a Hub in the home namespace."""
    code = Path(hub_server.__file__).read_text(encoding="utf-8")
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hub", "namespace": home},
        "data": {"hub_server.py": code},
    }
    served = pod(
        "hub",
        *("python", "/hub/hub_server.py", str(PORT), str(PORT + 1)),
        image=our_image,
        labels={"app": "hub"},
        container={"volumeMounts": [{"name": "hub", "mountPath": "/hub"}]},
        volumes=[{"name": "hub", "configMap": {"name": "hub"}}],
    )
    served["metadata"]["namespace"] = home
    ports = [{"name": f"p{p}", "port": p, "targetPort": p} for p in (PORT, PORT + 1)]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hub", "namespace": home},
        "spec": {"selector": {"app": "hub"}, "ports": ports},
    }
    for each in (config, served, service):
        admin.apply(each)
    url = f"http://hub.{home}.svc:{PORT}"
    assert until(lambda: _answers(admin, home), PATIENCE_S, every_s=0.5)
    return url


def _answers(admin: Cluster, home: str) -> bool:
    try:
        # Until the Service has a pod, something else may answer for its address.
        return seen(admin, home) == {"trees": 0, "sent": {}}
    except Unreachable:
        return False


def seen(admin: Cluster, home: str) -> dict[str, Any]:
    """Give what the Hub has been asked for: listings, and bytes sent by file."""
    address = (admin.get(SERVICE, "hub", home) or {})["spec"]["clusterIP"]
    return dict(ask("GET", f"http://{address}:{PORT}/_seen").json() or {})


def put_token(admin: Cluster, home: str, token: str) -> None:
    """Have the secret of people who download hold a token."""
    value = base64.b64encode(token.encode()).decode()
    admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hf-secret", "namespace": home},
            "data": {"HF_TOKEN": value},
        }
    )


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


def section(hub: str, repo: str, **model: Any) -> dict[str, Any]:
    files = {"source": "huggingface", "repo": repo, "revision": COMMIT, "size": "100Mi"}
    return {
        "kind": "llm-d",
        "gateway": {"mode": "none"},
        "model": files | {"endpoint": hub} | model,
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
    printed = admin.log("looks", site.namespace)
    admin.delete(POD, "looks", site.namespace)
    return {" ".join(line.split()) for line in printed.splitlines()}


def expected(repo: str) -> set[str]:
    folder = Wanted(repo, COMMIT).folder
    return {
        f"{hashlib.sha256(data).hexdigest()} ./{folder}/{path}"
        for path, data in tiny_model().files.items()
    }


def test_a_lane_downloads_each_model_once_and_leaves_no_token(
    hub: str, apart: KubernetesSite, admin: Cluster, home: str, pod: Callable[..., Any]
) -> None:
    stack = Llmd()
    gated = make_trial(section(hub, GATED, token={}))
    tiny = make_trial(section(hub, TINY))
    stack.apply(Step.NAMESPACE, gated, apart, nobody_stops())
    let_read(admin, home)
    with pytest.raises(StepFailure, match="there is no secret hf-secret with a key HF_TOKEN"):
        stack.apply(Step.MODEL, gated, apart, nobody_stops())
    put_token(admin, home, "hf_wrong")
    with pytest.raises(StepFailure, match=r"does not know the token \(401\)") as caught:
        stack.apply(Step.MODEL, gated, apart, nobody_stops())
    assert caught.value.failure is FailureClass.USER
    put_token(admin, home, GOOD_TOKEN)
    said: list[str] = []
    apart.said = said.append
    for trial in (gated, tiny, gated):
        stack.apply(Step.MODEL, trial, apart, nobody_stops())
        assert stack.healthy(Step.MODEL, trial, apart)
    assert said[-1].endswith("all there already")
    # Two models, each file sent once for each.
    twice = {path: 2 * len(data) for path, data in tiny_model().files.items()}
    assert seen(admin, home)["sent"] == twice
    (claim,) = admin.find(PERSISTENT_VOLUME_CLAIM, apart.namespace)
    name = claim["metadata"]["name"]
    assert sums(apart, admin, pod, name) == expected(GATED) | expected(TINY)
    assert admin.find(SECRET, apart.namespace) == []
    assert admin.find(JOB, apart.namespace) == []
    absent = make_trial(section(hub, TINY, revision="a" * 40))
    with pytest.raises(StepFailure, match="has no revision aaaa") as caught:
        stack.apply(Step.MODEL, absent, apart, nobody_stops())
    assert caught.value.failure is FailureClass.USER
    assert stack.remove(apart) == []
    assert not apart.stands()


def test_two_trials_share_a_download_and_the_next_site_does_too(
    hub: str,
    shared: KubernetesSite,
    make_site: Callable[..., KubernetesSite],
    admin: Cluster,
    home: str,
    tmp_path: Path,
) -> None:
    """The namespace enforces the restricted standard; the claim outlives the site, until gc."""
    file = tmp_path / "e.yaml"
    put_token(admin, home, GOOD_TOKEN)
    file.write_text(f"{EXPERIMENT}stack: {json.dumps(section(hub, GATED, token={}))}\n")
    plan = Plan(load(file), versions)
    (lane,) = plan.lanes
    store = FolderStore(tmp_path / "records")
    outcomes = []
    for number in lane.numbers():
        trial = plan.trial(number)
        run = TrialRun(
            trial=trial,
            site=shared,
            stack=registry.stack("llm-d", on="kubernetes"),
            harness=harness(trial.treatment.workload.harness),
            store=store,
            stop=threading.Event(),
            tell=lambda _: None,
            closes=False,
        )
        record = carry(run, retries=0)
        assert isinstance(record, Record), record
        outcomes += [each.outcome for each in record.steps if each.step == Step.MODEL]
    assert outcomes == [Outcome.APPLIED, Outcome.UNCHANGED]
    assert Llmd().remove(shared) == []
    once = {path: len(data) for path, data in tiny_model().files.items()}
    assert seen(admin, home) == {"trees": 1, "sent": once}
    kept = {labels.COMPONENT: "model"}
    (claim,) = admin.find(PERSISTENT_VOLUME_CLAIM, home, kept)
    other = make_site(False)
    trial = plan.trial(0)
    Llmd().apply(Step.NAMESPACE, trial, other, nobody_stops())
    Llmd().apply(Step.MODEL, trial, other, nobody_stops())
    assert seen(admin, home) == {"trees": 1, "sent": once}
    assert Llmd().remove(other) == []
    found, unseen = gc.look(admin, home)
    assert unseen == ()
    before = gc.decide(found, other.address.expires - 1)
    assert [each.told for each in before.remove] == []
    late = gc.decide(found, other.address.expires + 1)
    assert [each.told for each in late.remove] == [f"claim {claim['metadata']['name']}"]
    assert gc.carry_out(admin, home, late, say=lambda _: None, stop=nobody_stops()) == []
    assert admin.find(PERSISTENT_VOLUME_CLAIM, home, kept) == []
