"""What goes wrong on a cluster, made to: nothing is lost, nothing twice, and nothing left."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.hubs import ServedHub, put_token, serve_hub
from e2e.runs import PATIENCE_S, Field, ground
from e2e.sites import admin, judged
from llmatrix.cluster import labels
from llmatrix.cluster.kinds import PERSISTENT_VOLUME_CLAIM, PIPELINE_RUN, POD
from llmatrix.engines.tekton.reading import Phase
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.stacks.llmd.model import COMPONENT
from llmatrix.stacks.waiting import until
from stacks.hub.hub_server import (
    ABSENT_1B,
    COMMIT,
    GATED_1B,
    OPEN_1B,
    STRANGER_TOKEN,
    tiny_model,
)
from tools.devcluster import cluster as devcluster
from tools.devcluster import running
from tools.devcluster.layout import layout

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
__all__ = ["admin", "ground", "put_token", "serve_hub"]
EXPERIMENT: dict[str, Any] = {
    "name": "faults",
    "model": {"name": "Qwen/Qwen3-0.6B"},
    "stack": {"kind": "simulated"},
    "workload": {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 5},
        "warmup": 0,
        "duration": "6s",
    },
    "matrix": {"workload.output_len": [4, 5]},
}


@pytest.mark.parametrize("grace_s", [0, 5], ids=["by force", "gracefully"])
def test_the_pod_of_a_trial_is_deleted_in_the_midst_of_its_workload(
    ground: Field, grace_s: int
) -> None:
    run = ground.start()
    state = ground.in_step("workload")
    assert ground.cluster.delete(POD, state.pod, ground.home, grace_s=grace_s)
    ground.ends_well(run)


def test_a_run_that_is_cancelled_elsewhere_is_not_begun_anew(ground: Field) -> None:
    run = ground.start()
    ground.in_step("workload")
    cancel = ground.start("cancel", str(ground.file), "--namespace", ground.home)
    assert cancel.wait(PATIENCE_S) == 0, ground.log()
    assert run.wait(PATIENCE_S) == 130, ground.log()
    assert "cancelled elsewhere; " in ground.log()
    assert find_sites(ground.cluster, ground.home, {}).sites == ()
    assert ground.states() == []
    ground.ends_well(ground.start())  # whoever wants it after all says so


def test_what_a_cancelled_submission_measured_is_kept(ground: Field) -> None:
    ground.document["matrix"]["workload.output_len"] = [4, 5, 6]
    ground.done("submit", str(ground.file))

    def ended() -> int:
        return sum(state.phase is Phase.ENDED for _, state in ground.states())

    assert until(lambda: ended() >= 1, PATIENCE_S, every_s=0.3), ground.log()
    ground.done("cancel", str(ground.file), "--namespace", ground.home)
    assert ground.records() == []  # nobody has watched
    cancelled = time.time()
    ground.ends_well(ground.start())
    assert "of an earlier run copied from the cluster" in ground.log()
    assert min(record["ended_at"] for record in ground.records()) < cancelled


def test_a_server_is_killed_in_the_midst_of_a_workload(ground: Field) -> None:
    run = ground.start()
    ground.in_step("workload")
    time.sleep(2)  # past the reading of what stands, into the traffic
    for pod in ground.site_pods("server"):
        ground.cluster.delete(POD, pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=0)
    ground.ends_well(run)
    attempts = [attempt for record in ground.records() for attempt in record["attempts"]]
    assert {attempt["failure"] for attempt in attempts} == {"server"}


def test_the_controller_of_tekton_is_restarted(ground: Field) -> None:
    run = ground.start()
    ground.in_step("workload")
    controllers = {"app": "tekton-pipelines-controller"}
    ground.cluster.delete_all(POD, "tekton-pipelines", controllers)
    ground.ends_well(run)


def test_the_submitting_process_is_killed_and_started_again(ground: Field) -> None:
    first = ground.start()
    ground.in_step("workload")
    first.kill()
    first.wait()
    made = {run["metadata"]["uid"] for run in ground.cluster.find(PIPELINE_RUN, ground.home)}
    second = ground.start()
    assert until(lambda: "under way" in ground.log(), PATIENCE_S)
    now = {run["metadata"]["uid"] for run in ground.cluster.find(PIPELINE_RUN, ground.home)}
    assert now == made
    ground.ends_well(second)


def test_one_that_was_submitted_and_left_is_collected_later(ground: Field) -> None:
    assert ground.start("submit", str(ground.file)).wait(60) == 0, ground.log()

    def over() -> bool:
        runs = ground.cluster.find(PIPELINE_RUN, ground.home)
        return bool(runs) and all(
            each["status"].get("completionTime") for each in runs if "status" in each
        )

    assert until(over, PATIENCE_S, every_s=1.0)
    ground.ends_well(ground.start())
    assert len({record["ended_at"] for record in ground.records()}) == 2


def _results_conftest() -> Any:
    file = Path(__file__).parents[1] / "results/conftest.py"
    spec = importlib.util.spec_from_file_location("results_conftest", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["results_conftest"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_object_store_fails_a_third_of_the_calls_and_then_a_minute_long(
    ground: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = _results_conftest()
    node = _node_address(ground)
    with subprocess.Popen(
        [sys.executable, "-c", s3.SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(next(line for line in server.stdout if line.strip().isdecimal()))
        proxy = s3.Proxy(port, s3.Trouble(fail=0.3), host=node)
        proxy.start()
        try:
            for name, value in s3.CREDENTIALS.items():
                monkeypatch.setenv(name, value)
            request = urllib.request.Request(f"http://127.0.0.1:{port}/bench", method="PUT")
            urllib.request.urlopen(request).close()  # noqa: S310 - our own
            endpoint = f"http://{node}:{proxy.port}"
            ground.document["results"] = {"store": f"s3://bench/team?endpoint={endpoint}"}
            ground.document["run"]["cluster"]["env"] = dict(s3.CREDENTIALS)
            run = ground.start()
            ground.in_step("workload")
            proxy.trouble.fail = 1.0
            time.sleep(60)
            proxy.trouble.fail = 0.3
            assert run.wait(PATIENCE_S) == 0, ground.log()
            proxy.trouble.fail = 0.0
            pulled = ground.start("pull", f"s3://bench/team/faults?endpoint={endpoint}",
                                  str(ground.folder / "results"))  # fmt: skip
            assert pulled.wait(60) == 0, ground.log()
        finally:
            proxy.stop()
            assert server.stdin is not None
            server.stdin.close()
            server.wait(20)
    assert len(ground.records()) == 2
    ground.nothing_left()


def _node_address(ground: Field) -> str:
    (node,) = ground.kubectl.get("nodes")["items"]
    addresses = {each["type"]: each["address"] for each in node["status"]["addresses"]}
    return str(addresses["InternalIP"])


@pytest.mark.skipif(
    "LLMATRIX_E2E_KUBECONFIG" in os.environ, reason="somebody else's API server is left alone"
)
def test_the_api_server_is_restarted_under_the_watch(ground: Field) -> None:
    run = ground.start()
    ground.in_step("workload")
    place = layout()
    before = running.standing(place)["kube-apiserver"]
    running.end(place, ["kube-apiserver"], grace_s=0.0)
    time.sleep(5)  # the watch breaks, and what asks again meets nobody
    devcluster.up(place)
    assert running.standing(place)["kube-apiserver"] != before
    ground.ends_well(run)


NOWHERE = "registry.invalid/nobody/engine:1"


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({"preset": "llama-cpp", "image": NOWHERE}, NOWHERE),
        ({"simulated": True, "resources": {"cpu": "512"}}, "Insufficient cpu"),
    ],
    ids=["an image from nowhere", "too large for any node"],
)
def test_servers_that_cannot_start_are_told_and_the_other_trials_are_measured(
    ground: Field, server: dict[str, Any], told: str
) -> None:
    ground.document["stack"] = {"kind": "llm-d", "gateway": {"mode": "none"}}
    ground.document["matrix"] = {
        "stack.server": [
            {"name": "simulated", "value": {"simulated": True}},
            {"name": "hopeless", "value": server},
        ]
    }
    ground.done(code=1)
    (record,) = ground.records()
    assert record["levels"] == {"stack.server": "simulated"}
    (failure,) = ground.failures()
    assert failure["levels"] == {"stack.server": "hopeless"}
    last = failure["attempts"][-1]
    assert last["step"] == "server"
    assert told in last["message"]
    # At once, not when the ten minutes that an engine may take to start are over.
    assert last["seconds"] < 60
    ground.nothing_left()


def test_models_that_do_not_come_are_told_and_the_other_trials_are_measured(
    ground: Field,
    serve_hub: Callable[[str], ServedHub],
    put_token: Callable[[str, str], None],
) -> None:
    """One that the Hub does not have, and one that the owner of the token may not read."""
    hub = serve_hub(ground.home)
    put_token(ground.home, STRANGER_TOKEN)
    ground.document["run"]["cluster"]["namespaced"] = True
    files = {"source": "huggingface", "revision": COMMIT, "endpoint": hub.url, "size": "100Mi"}
    ground.document["stack"] = {
        "kind": "llm-d",
        "gateway": {"mode": "none"},
        "model": {**files, "token": {}},
        "server": {"simulated": True},
    }
    ground.document["matrix"]["model.name"] = [OPEN_1B, GATED_1B, ABSENT_1B]
    ground.done(code=1)

    records = ground.records()
    expected = [{"workload.output_len": n, "model.name": OPEN_1B} for n in ("4", "5")]
    assert sorted((r["levels"] for r in records), key=str) == expected, ground.log()
    # Downloaded for the first, there for the second; and each file was sent once.
    model = [e["outcome"] for r in records for e in r["steps"] if e["step"] == "model"]
    assert sorted(model) == ["applied", "unchanged"]
    assert hub.seen()["sent"] == tiny_model().sizes()
    for record in records:
        judged(record, "output_tokens_exact", "error_share")

    failures = ground.failures()
    assert len(failures) == 4
    for failure in failures:
        (attempt,) = failure["attempts"]  # another try would be told the same
        assert (attempt["step"], attempt["failure"]) == ("model", "user")
        name = failure["levels"]["model.name"]
        says = {
            ABSENT_1B: f"there is no repository {ABSENT_1B} at {hub.url}",
            GATED_1B: f"{GATED_1B} is gated, and the owner of the token has no access to it",
        }[name]
        assert says in attempt["message"]
        assert STRANGER_TOKEN not in str(failure)
        # At once, not when the two hours of a download are over.
        assert attempt["seconds"] < 60

    # What may be used by the next site, until it expires; nothing else.
    ground.nothing_left(COMPONENT)
    ours = {labels.MANAGED_BY: labels.OURS}
    claims = ground.cluster.find(PERSISTENT_VOLUME_CLAIM, ground.home, ours)
    assert len(claims) == 3
    assert all(labels.EXPIRES in each["metadata"]["labels"] for each in claims)
