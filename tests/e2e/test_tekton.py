"""Tekton does what the Tekton engine will ask of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tools.devcluster.command import output

Ending = Callable[[dict[str, Any]], dict[str, Any]]


def action(shell: str) -> dict[str, Any]:
    """Describe a StepAction that joins two words."""
    join = 'printf "%s-%s" "$LEFT" "$RIGHT" > $(step.results.joined.path)'
    return {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "StepAction",
        "metadata": {"name": "join"},
        "spec": {
            "params": [{"name": "left"}, {"name": "right"}],
            "results": [{"name": "joined"}],
            "image": shell,
            "env": [
                {"name": "LEFT", "value": "$(params.left)"},
                {"name": "RIGHT", "value": "$(params.right)"},
            ],
            "command": ["sh", "-c", join],
        },
    }


def joining(shell: str) -> dict[str, Any]:
    """Describe a task: the action, a step whose failure is let pass, and one that comes after."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": "joining"},
        "spec": {
            "params": [{"name": "left"}, {"name": "right"}],
            "results": [
                {"name": "joined", "value": "$(steps.join.results.joined)"},
                {"name": "after"},
            ],
            "steps": [
                {
                    "name": "join",
                    "ref": {"name": "join"},
                    "params": [
                        {"name": "left", "value": "$(params.left)"},
                        {"name": "right", "value": "$(params.right)"},
                    ],
                },
                {"name": "fail", "image": shell, "onError": "continue", "command": ["false"]},
                {
                    "name": "after",
                    "image": shell,
                    "command": ["sh", "-c", "printf yes > $(results.after.path)"],
                },
            ],
        },
    }


def matrix(shell: str) -> dict[str, Any]:
    """Describe a run of 2 × 2 tasks and a last one that sees what they joined."""
    levels = [{"name": "left", "value": ["a", "b"]}, {"name": "right", "value": ["1", "2"]}]
    see = {
        "params": [{"name": "all", "type": "array"}],
        "results": [{"name": "seen"}],
        "steps": [
            {
                "name": "see",
                "image": shell,
                "command": ["sh", "-c", 'printf "%s " "$@" > $(results.seen.path)', "sh"],
                "args": ["$(params.all[*])"],
            }
        ],
    }
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "matrix"},
        "spec": {
            "pipelineSpec": {
                "tasks": [
                    {"name": "each", "taskRef": {"name": "joining"}, "matrix": {"params": levels}}
                ],
                "finally": [
                    {
                        "name": "see",
                        "taskSpec": see,
                        "params": [{"name": "all", "value": "$(tasks.each.results.joined[*])"}],
                    }
                ],
                "results": [{"name": "seen", "value": "$(finally.see.results.seen)"}],
            }
        },
    }


def test_a_matrix_of_step_actions_goes_on_after_a_failure(namespace: Any, ending: Ending) -> None:
    shell = namespace.cluster.shell
    namespace.apply(action(shell), joining(shell))
    namespace.apply(matrix(shell))
    run = namespace.run_ended("pipelinerun", "matrix")
    assert ending(run)["status"] == "True", run["status"]
    runs = namespace.get("taskruns", "-l", "tekton.dev/pipelineTask=each")["items"]
    found = {}
    for one in runs:
        results = {result["name"]: result["value"] for result in one["status"]["results"]}
        states = {step["name"]: step for step in one["status"]["steps"]}
        assert states["fail"]["terminated"]["exitCode"] == 1
        assert states["fail"]["terminationReason"] == "Continued"
        assert results["after"] == "yes"
        levels = tuple(param["value"] for param in one["spec"]["params"])
        found[levels] = results["joined"]
    assert found == {pair: "-".join(pair) for pair in itertools.product("ab", "12")}
    seen = {result["name"]: result["value"] for result in run["status"]["results"]}["seen"]
    assert sorted(seen.split()) == ["a-1", "a-2", "b-1", "b-2"]


def test_a_task_whose_pod_is_deleted_is_tried_again(namespace: Any, ending: Ending) -> None:
    shell = namespace.cluster.shell
    wait_once = 'echo try "$1"; test "$1" -gt 0 || exec sleep 600'
    step = {
        "name": "wait",
        "image": shell,
        "command": ["sh", "-c", wait_once, "sh", "$(context.task.retry-count)"],
    }
    tasks = [{"name": "stubborn", "retries": 1, "taskSpec": {"steps": [step]}}]
    namespace.apply(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": {"name": "again"},
            "spec": {"pipelineSpec": {"tasks": tasks}},
        }
    )
    task = "again-stubborn"
    first = namespace.until(_runs_a_step, "taskrun", task)["status"]["podName"]
    namespace.run("delete", "pod", first, "--grace-period=1", "--wait=false")
    assert ending(namespace.run_ended("pipelinerun", "again"))["status"] == "True"
    done = namespace.get("taskrun", task)["status"]
    assert [one["podName"] for one in done["retriesStatus"]] == [first]
    assert done["podName"] != first
    assert done["steps"][0]["terminated"]["exitCode"] == 0


def test_tkn_shows_a_run_and_its_log(namespace: Any, ending: Ending) -> None:
    cluster = namespace.cluster
    if cluster.tkn is None:
        pytest.skip("there is no tkn here")
    step = {"name": "say", "image": cluster.shell, "command": ["echo", "said so"]}
    namespace.apply(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": "saying"},
            "spec": {"taskSpec": {"steps": [step]}},
        }
    )
    assert ending(namespace.run_ended("taskrun", "saying"))["status"] == "True"
    here = (f"--kubeconfig={cluster.kubectl.kubeconfig}", "-n", namespace.name)
    assert "Succeeded" in output([cluster.tkn, "taskrun", "list", *here])
    assert "said so" in output([cluster.tkn, "taskrun", "logs", "saying", *here])


def _runs_a_step(run: dict[str, Any]) -> bool:
    return any("running" in step for step in run.get("status", {}).get("steps", ()))
