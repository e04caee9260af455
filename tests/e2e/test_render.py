"""The way of kubectl and tkn: what is rendered is applied, followed, and measures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cli import main as cli
from llmatrix.cluster.naming import dns_name
from llmatrix.engines.tekton import pipelineruns
from llmatrix.engines.tekton.queueing import PENDING

Ending = Callable[[dict[str, Any]], dict[str, Any]]

SMALL: dict[str, Any] = {
    "name": "rendered",
    "model": {"name": "Qwen/Qwen3-0.6B"},
    "stack": {"kind": "simulated"},
    "workload": {
        "kind": "random",
        "question_len": 8,
        "output_len": 4,
        "load": {"rate": 20},
        "warmup": 0,
        "duration": "500ms",
    },
}
PATIENCE_S = 900.0
pytestmark = pytest.mark.timeout(1800)


class Renderer:
    """Renders a small experiment for a namespace, and runs the commands that it is told."""

    def __init__(self, namespace: Any, image: str, folder: Path) -> None:
        self.namespace, self.image, self.folder = namespace, image, folder
        self.experiment = f"rendered-{namespace.name.rpartition('-')[2]}"
        kubectl = namespace.cluster.kubectl
        self.programs = {"kubectl": kubectl.program, "tkn": namespace.cluster.tkn}
        self.environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}

    def render(self, *options: str, **sections: Any) -> list[str]:
        """Give the commands that ``llmatrix tekton render`` says."""
        file = self.folder / "experiment.yaml"
        document = {**SMALL, "name": self.experiment, **sections}
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        place = ["--namespace", self.namespace.name, "--image", self.image]
        words = ["tekton", "render", str(file), "-o", str(self.folder / "out"), *place, *options]
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.setattr(sys, "argv", ["llmatrix", *words])
            with pytest.raises(SystemExit) as end:
                cli.main()
        assert end.value.code == 0
        return printed.getvalue().splitlines()

    def start(self, *options: str, **sections: Any) -> list[dict[str, Any]]:
        """Render, apply, and give the PipelineRuns by their names."""
        for command in self.render(*options, **sections)[:-1]:
            self.say(command)
        made: list[dict[str, Any]] = self.namespace.get("pipelineruns")["items"]
        return sorted(made, key=lambda each: str(each["metadata"]["name"]))

    def ended(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until a PipelineRun has ended, and give it."""
        name = run["metadata"]["name"]
        done = "--for=jsonpath={.status.completionTime}"
        self.namespace.run("wait", "pipelinerun", name, done, f"--timeout={PATIENCE_S:.0f}s")
        found: dict[str, Any] = self.namespace.get("pipelinerun", name)
        return found

    def measured(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give the TaskRuns of a PipelineRun's trials, all of which must have been measured."""
        name = run["metadata"]["name"]
        selected = f"tekton.dev/pipelineRun={name},tekton.dev/pipelineTask!=close"
        found: list[dict[str, Any]] = self.namespace.get("taskruns", "-l", selected)["items"]
        for each in found:
            # Whether it can be trusted depends on how busy the machine is; this does not.
            assert results(each).get("status") in {"valid", "invalid"}, each["status"]
        return found

    def nothing_stands(self) -> None:
        """Fail if a site of the experiment is left."""
        selected = f"llmatrix.dev/experiment={self.experiment}"
        left = self.namespace.cluster.kubectl.get("namespaces", "-l", selected)["items"]
        assert [each["metadata"]["name"] for each in left] == []

    def say(self, command: str, timeout_s: float = 60.0) -> str:
        """Run a command as a person would, and give what it printed."""
        for name, program in self.programs.items():
            if program is not None:
                command = command.replace(f"{name} ", f"{shlex.quote(str(program))} ", 1)
        done = subprocess.run(
            ["sh", "-c", command],  # noqa: S607 - the commands are written for a shell
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def renderer(namespace: Any, our_image: str, tmp_path: Path) -> Iterator[Renderer]:
    yield Renderer(namespace, our_image, tmp_path)
    # Whatever a failed test left; the binding is the cluster's, not the namespace's.
    kubectl = namespace.cluster.kubectl
    binding = dns_name("llmatrix-sites", namespace.name, "llmatrix")
    kubectl.run("delete", "clusterrolebinding", binding, "--ignore-not-found")


def results(task_run: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in task_run["status"].get("results", ())}


def test_the_five_commands(renderer: Renderer, namespace: Any, ending: Ending) -> None:
    if namespace.cluster.tkn is None:
        pytest.skip("there is no tkn here")
    commands = renderer.render(matrix={"workload.output_len": [4, 5]})
    assert len(commands) == 5
    for command in commands[:4]:
        renderer.say(command)
    followed = renderer.say(commands[4], PATIENCE_S)
    assert followed.count("workload applied") == 2, followed

    (run,) = namespace.get("pipelineruns")["items"]
    assert ending(renderer.ended(run))["status"] == "True"
    trials = renderer.measured(run)
    told = {each["metadata"]["labels"]["llmatrix.dev/trial"]: each for each in trials}
    assert len(told) == 2
    assert all(results(each)["trial"] == trial for trial, each in told.items())
    levels = {each["metadata"]["annotations"]["llmatrix.dev/levels"] for each in trials}
    assert levels == {f'{{"workload.output_len": "{n}"}}' for n in (4, 5)}
    name = trials[0]["metadata"]["name"]
    described = renderer.say(f"tkn taskrun describe {name} -n {namespace.name}")
    assert "output_len=" in described
    assert "ttft_ms_p50" in described
    renderer.nothing_stands()

    # Applied once more, nothing runs again.
    assert "serverside-applied" in renderer.say(commands[3])
    (same,) = namespace.get("pipelineruns")["items"]
    assert same["metadata"]["uid"] == run["metadata"]["uid"]
    assert len(namespace.get("taskruns")["items"]) == 3


@pytest.mark.long
def test_a_native_matrix_of_plain_params(renderer: Renderer, ending: Ending) -> None:
    matrix = {"workload.output_len": [4, 5], "workload.question_len": [8, 9]}
    (run,) = renderer.start(matrix=matrix, run={"isolation": "fresh", "parallelism": 2})
    assert ending(renderer.ended(run))["status"] == "True"
    found = {}
    for each in renderer.measured(run):
        params = {param["name"]: param["value"] for param in each["spec"]["params"]}
        levels = (params["workload-output_len"], params["workload-question_len"])
        found[levels] = results(each)["trial"]
    assert set(found) == {("4", "8"), ("4", "9"), ("5", "8"), ("5", "9")}
    assert len(set(found.values())) == 4
    renderer.nothing_stands()


@pytest.mark.long
def test_levels_that_params_cannot_say(renderer: Renderer, ending: Ending) -> None:
    nasty = '$(params.orders) $(x) `id` "q"\''
    levels = [{"name": nasty, "value": 4}, {"name": "two words", "value": 5}]
    matrix = {"workload.output_len": levels}
    (run,) = renderer.start("--combinations=1", matrix=matrix, run={"isolation": "fresh"})
    assert len(run["spec"]["pipelineSpec"]["tasks"]) == 2  # one combination each
    assert ending(renderer.ended(run))["status"] == "True"
    assert len(renderer.measured(run)) == 2
    renderer.nothing_stands()


def test_a_label_arrives_literally_in_a_chain(renderer: Renderer, ending: Ending) -> None:
    nasty = '$(params.orders) $(context.taskRun.name) `id` "q"\''
    (run,) = renderer.start(matrix={"workload.output_len": [{"name": nasty, "value": 4}]})
    assert ending(renderer.ended(run))["status"] == "True"
    (trial,) = renderer.measured(run)
    levels = json.loads(trial["metadata"]["annotations"]["llmatrix.dev/levels"])
    assert levels == {"workload.output_len": nasty}


def test_namespaced_no_right_in_the_cluster_is_needed(
    renderer: Renderer, namespace: Any, ending: Ending
) -> None:
    run = {"cluster": {"namespaced": True}}
    commands = renderer.render(matrix={"workload.output_len": [4]}, run=run)
    roles = yaml.safe_load_all((renderer.folder / "out/roles.yaml").read_text())
    assert {each["kind"] for each in roles} == {"ServiceAccount", "Role", "RoleBinding"}
    for command in commands[:-1]:
        renderer.say(command)
    (made,) = namespace.get("pipelineruns")["items"]
    assert ending(renderer.ended(made))["status"] == "True"
    assert len(renderer.measured(made)) == 1
    kinds = "deployments,statefulsets,services,configmaps,leases"
    assert namespace.get(kinds, "-l", "llmatrix.dev/site")["items"] == []


@pytest.mark.long
def test_segments_of_a_lane_let_one_another_go(
    renderer: Renderer, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelineruns, "MOST_TASKS", 1)
    first, second = renderer.start(matrix={"workload.output_len": [4, 5]})
    assert second["metadata"]["name"] == f"{first['metadata']['name']}-2"
    assert second["spec"]["status"] == PENDING
    assert ending(renderer.ended(first))["status"] == "True"
    assert ending(renderer.ended(second))["status"] == "True"
    (before,), (after,) = renderer.measured(first), renderer.measured(second)
    assert results(before)["trial"] != results(after)["trial"]
    # The site went on from one to the other.
    assert _outcome(before, "server") == "applied"
    assert _outcome(after, "server") == "unchanged"
    renderer.nothing_stands()


@pytest.mark.long
def test_a_queue_holds_a_pipeline_run_until_it_is_admitted(
    renderer: Renderer, namespace: Any, ending: Ending
) -> None:
    (run,) = renderer.start(matrix={"workload.output_len": [4]}, run={"queue": "gpus"})
    name = run["metadata"]["name"]
    assert run["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    pending = namespace.until(lambda it: ending(it).get("reason") == PENDING, "pipelinerun", name)
    assert pending["status"].get("startTime") is None
    # As tekton-kueue lets one go (RunWithPodSetsInfo).
    namespace.run("patch", "pipelinerun", name, "--type=merge", '-p={"spec":{"status":null}}')
    assert ending(renderer.ended(run))["status"] == "True"
    assert len(renderer.measured(run)) == 1
    renderer.nothing_stands()


def test_every_example_is_taken_by_the_real_webhook(renderer: Renderer, namespace: Any) -> None:
    golden = Path(__file__).parents[2] / "examples" / "tekton"
    for file in sorted(golden.glob("*/*.yaml")):
        text = re.sub(r"\bbench\b", namespace.name, file.read_text())
        made = renderer.folder / file.name
        made.write_text(text)
        # The cluster roles may be there, of another version.
        ask = "kubectl apply --server-side --force-conflicts --dry-run=server"
        renderer.say(f"{ask} -f {shlex.quote(str(made))}")


def _outcome(task_run: Mapping[str, Any], step: str) -> str:
    (found,) = (each for each in task_run["status"]["steps"] if each["name"] == step)
    told = {each["name"]: each["value"] for each in found["results"]}
    return str(told["outcome"]).strip()
