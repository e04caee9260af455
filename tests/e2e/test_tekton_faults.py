"""What goes wrong on a cluster, made to: nothing is lost, nothing twice, and nothing left."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.api import Cluster
from llmatrix.cluster.kinds import PIPELINE_RUN, POD, TASK_RUN, Object
from llmatrix.engines.tekton.reading import Phase, TrialState, read_trial
from llmatrix.engines.tekton.sites import find_sites
from llmatrix.stacks.waiting import until
from tools.devcluster import cluster as devcluster
from tools.devcluster import running
from tools.devcluster.layout import layout

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
PATIENCE_S = 420.0
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


@dataclass
class Field:
    """An experiment in a namespace of its own, run as a user runs it."""

    folder: Path
    cluster: Cluster
    home: str
    kubectl: Any
    document: dict[str, Any]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "faults.yaml"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        self.file.write_text(yaml.safe_dump(self.document))
        program = Path(sys.executable).with_name("llmatrix")
        command = [str(program), *(words or ("run", str(self.file)))]
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def ends_well(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a run; every trial must have one whole record, and nothing stand."""
        assert process.wait(PATIENCE_S) == 0, self.log()
        records = self.records()
        wanted = len(self.document["matrix"]["workload.output_len"])
        assert len(records) == len({r["trial"] for r in records}) == wanted, self.log()
        self.nothing_stands()

    def records(self) -> list[dict[str, Any]]:
        found = sorted((self.folder / "results/faults").glob("*/record.json"))
        return [json.loads(path.read_bytes()) for path in found]

    def nothing_stands(self) -> None:
        assert [site.name for site in find_sites(self.cluster, self.home, {}).sites] == []
        ours = {labels.MANAGED_BY: labels.OURS}
        assert self.cluster.find(PIPELINE_RUN, self.home, ours) == []

    def states(self) -> list[tuple[Object, TrialState]]:
        found = self.cluster.find(TASK_RUN, self.home, {labels.TRIAL: None})
        return [(each, read_trial(each)) for each in found]

    def in_step(self, step: str) -> TrialState:
        """Wait until a trial is in a step; give it."""

        def there() -> TrialState | None:
            for _, state in self.states():
                now = state.step
                if state.phase is Phase.RUNNING and now is not None and now.step == step:
                    return state
            return None

        assert until(lambda: there() is not None, PATIENCE_S, every_s=0.3), self.log()
        state = there()
        return state if state is not None else self.in_step(step)

    def site_pods(self, component: str) -> list[Object]:
        (site,) = find_sites(self.cluster, self.home, {}).sites
        pods = self.cluster.find(POD, site.name, {labels.SITE: site.name, labels.STEP: component})
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture
def ground(
    tmp_path: Path,
    make_namespace: Callable[..., Any],
    our_image: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Field]:
    home = make_namespace()
    monkeypatch.setenv("KUBECONFIG", str(home.cluster.kubectl.kubeconfig))
    monkeypatch.setenv("LLMATRIX_IMAGE", our_image)
    run = {"engine": "tekton", "cluster": {"namespace": home.name}}
    document = {**EXPERIMENT, "run": run}
    with Cluster.connect() as cluster:
        ground = Field(tmp_path, cluster, home.name, home.cluster.kubectl, document)
        yield ground
        for process in ground.processes:
            process.kill()
            process.wait()


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
    ground.nothing_stands()
    assert ground.cluster.find(TASK_RUN, ground.home, {labels.TRIAL: None}) == []
    ground.ends_well(ground.start())  # whoever wants it after all says so


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
    ground.nothing_stands()


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
    run = ground.start()
    assert run.wait(PATIENCE_S) == 1, ground.log()
    (record,) = ground.records()
    assert record["levels"] == {"stack.server": "simulated"}
    (path,) = (ground.folder / "results/faults").glob("*/failure.json")
    failure = json.loads(path.read_bytes())
    assert failure["levels"] == {"stack.server": "hopeless"}
    last = failure["attempts"][-1]
    assert last["step"] == "server"
    assert told in last["message"]
    # At once, not when the ten minutes that an engine may take to start are over.
    assert last["seconds"] < 60
    ground.nothing_stands()
