"""The examples of kind llm-d, planned, and every object of every treatment made as its step would.

They are run with simulated servers in tests/e2e; here it is seen that each level becomes what it
says, and that the plan leaves out what cannot fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cli.preflight import check
from llmatrix.cluster.kinds import Object
from llmatrix.plan.build import Plan
from llmatrix.plan.step import Step
from llmatrix.plan.trial import Trial
from llmatrix.spec.llmd import LlmdStack
from llmatrix.spec.load import load
from llmatrix.stacks.llmd import gateway, model, router, server
from stacks.addresses import SHARED

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted([*EXAMPLES.glob("llm-d/*.yaml"), *EXAMPLES.glob("vllm/*.yaml")])
ADDRESS = replace(SHARED, name="bench-0", namespace="bench", home="bench")


def versions(stack: str, harness: str) -> Mapping[str, str]:
    return {"stack": stack, "harness": harness}


def planned(name: str) -> Plan:
    return Plan(load(EXAMPLES / name), versions)


def rendered(trial: Trial) -> list[Object]:
    """Make the objects of every layer of a trial."""
    stack = trial.treatment.stack
    assert isinstance(stack, LlmdStack)
    made = [*gateway.objects(stack.gateway, ADDRESS), *server.objects(trial.treatment, ADDRESS)]
    if stack.gateway.mode != "none":
        made += router.objects(stack.router, ADDRESS)
    if stack.model.source == "huggingface":
        made += [model.claim(trial.treatment, ADDRESS), model.job(trial.treatment, ADDRESS)]
    return made


def deployments(trial: Trial) -> dict[str, Object]:
    name = f"{ADDRESS.name}-"
    return {
        each["metadata"]["name"].removeprefix(name): each["spec"]
        for each in rendered(trial)
        if each["kind"] == "Deployment"
    }


def commands(trial: Trial) -> Iterator[list[str]]:
    for each in deployments(trial).values():
        for container in each["template"]["spec"]["containers"]:
            yield container.get("command", [])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_treatment_becomes_objects_that_can_be_applied(file: Path) -> None:
    plan = planned(str(file.relative_to(EXAMPLES)))
    check(plan)
    keys: dict[str, list[Object]] = {}
    for trial in plan:
        made = rendered(trial)
        assert json.loads(json.dumps(made)) == made
        names = [(each["kind"], each["metadata"]["name"]) for each in made]
        assert len(set(names)) == len(names)
        # The same key is the same objects, or a level would be measured on what another left.
        assert keys.setdefault(trial.keys[Step.SERVER] + trial.keys[Step.ROUTER], made) == made
    distinct = {json.dumps(made, sort_keys=True) for made in keys.values()}
    assert len(distinct) == len(keys)


def test_prefill_decode_has_servers_of_both_roles_in_every_shape() -> None:
    plan = planned("llm-d/prefill-decode.yaml")
    assert (plan.treatments, plan.estimate.deployments) == (27, 9)
    assert {trial.treatment.stack.accelerators for trial in plan} == {4, 6, 8}
    shapes = set()
    for trial in plan:
        found = deployments(trial)
        assert set(found) == {"gateway", "picker", "server", "prefill"}
        levels = trial.levels
        assert str(found["server"]["replicas"]) == levels["stack.server.replicas"]
        assert str(found["prefill"]["replicas"]) == levels["stack.server.prefill.replicas"]
        for role, path in (
            ("server", "stack.server.tensor_parallel"),
            ("prefill", "stack.server.prefill.tensor_parallel"),
        ):
            (container,) = found[role]["template"]["spec"]["containers"]
            assert f"--tensor-parallel-size={levels[path]}" in container["command"]
            asked = "decode" if role == "server" else "prefill"
            assert f"--role={asked}" in container["command"]
        shapes.add(tuple(levels[path] for path in plan.paths))
    assert len(shapes) == 27


def test_prefix_caching_sizes_blocks_and_the_tier_in_host_memory() -> None:
    plan = planned("llm-d/prefix-caching.yaml")
    assert (plan.treatments, plan.estimate.deployments) == (18, 6)
    tiers: dict[str, Any] = {}
    for trial in plan:
        (command,) = commands(trial)
        assert command[2] == "/models/Llama-3.1-8B-Instruct"
        assert f"--block-size={trial.levels['stack.server.args.block-size']}" in command
        told = [word for word in command if word.startswith("--kv-transfer-config=")]
        tiers[trial.levels["stack.server.args.kv-transfer-config"]] = [
            json.loads(word.partition("=")[2])["kv_connector_extra_config"] for word in told
        ]
    assert tiers == {
        "none": [],
        "cpu-40GB": [{"cpu_bytes_to_use": 40_000_000_000}],
        "cpu-160GB": [{"cpu_bytes_to_use": 160_000_000_000}],
    }


def test_tensor_parallel_leaves_out_what_does_not_fit_on_one_accelerator() -> None:
    plan = planned("llm-d/tensor-parallel.yaml")
    assert plan.treatments == 12
    assert {each.levels["stack.server.tensor_parallel"] for each in plan.left_out} == {"1"}
    assert {each.why for each in plan.left_out} == {
        "Qwen/Qwen3-32B on 1 × L40S: 65.5 GB of weights on each, and each has 44.2 GB "
        "(0.92 of 48.0 GB)"
    }
    for trial in plan:
        (spec,) = deployments(trial).values()
        (container,) = spec["template"]["spec"]["containers"]
        width = trial.levels["stack.server.tensor_parallel"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": width}


def test_plain_vllm_is_one_server_with_nothing_before_it() -> None:
    plan = planned("vllm/plain.yaml")
    assert (plan.treatments, plan.estimate.deployments, plan.left_out) == (16, 1, [])
    assert {tuple(deployments(trial)) for trial in plan} == {("server",)}


def test_each_of_two_models_is_downloaded_by_a_job_with_the_token_and_loaded_by_servers() -> None:
    plan = planned("llm-d/model-download.yaml")
    assert (plan.treatments, plan.estimate.deployments, plan.left_out) == (6, 2, [])
    assert plan.estimate.transitions[Step.MODEL] == 2
    assert plan.estimate.download_s == pytest.approx(2 * 40 * 2**30 / 100e6)
    folders = set()
    for trial in plan:
        made = {each["kind"]: each for each in rendered(trial)}
        (container,) = made["Job"]["spec"]["template"]["spec"]["containers"]
        repo = trial.levels["model.name"]
        assert f"--repo={repo}" in container["command"]
        reference = {"name": "hf-secret", "key": "HF_TOKEN"}
        assert container["env"] == [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}]
        (command,) = commands(trial)
        (revision,) = (w.partition("=")[2] for w in container["command"] if "--revision=" in w)
        assert command[2].startswith(f"/models/{repo.replace('/', '--')}/{revision}")
        folders.add(command[2])
        claim = made["PersistentVolumeClaim"]
        assert claim["spec"]["resources"]["requests"]["storage"] == "40Gi"
        assert "hf-secret" not in json.dumps(made["Deployment"])
    assert len(folders) == 2
