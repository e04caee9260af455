"""Servers of two roles and of several nodes, as documents; simulated roles also speak for real."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmatrix.cluster import pods
from llmatrix.cluster.kinds import Object
from llmatrix.errors import FailureClass, UserError
from llmatrix.plan.step import Step
from llmatrix.sim.passage import PREFILLER
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks.http import ask
from llmatrix.stacks.kubernetes_objects import placed
from llmatrix.stacks.llmd import checks, data_plane, names, picker_config, roles, router, server
from llmatrix.stacks.site_address import SiteAddress
from stacks.addresses import OWN, SHARED

LLM_D = "ghcr.io/llm-d/llm-d-router-endpoint-picker:v0.10.0"
SPLIT = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: prefill-filter}
- {type: decode-filter}
- {type: queue-scorer}
- {type: always-disagg-pd-decider}
- type: disagg-profile-handler
  parameters: {deciders: {prefill: always-disagg-pd-decider}}
schedulingProfiles:
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}]}
"""
REAL = {"image": "vllm/vllm-openai:v0.20.0"}


def treatment(server: dict[str, Any], config: str = SPLIT, image: str = LLM_D,
              **stack: Any) -> Treatment:  # fmt: skip
    layer = {"config": {"text": config, "name": "p.yaml"}, "image": image}
    workload = {
        "kind": "random",
        "question_len": 64,
        "output_len": 4,
        "prompt": "text",
        "load": {"concurrency": 1},
    }
    return Treatment.model_validate(
        {
            "model": {"name": "Qwen/Qwen3-0.6B", "tokenizer": "words"},
            "stack": {"kind": "llm-d", "router": layer, "server": server, **stack},
            "workload": workload,
        }
    )


def made(server_: dict[str, Any], address: SiteAddress = OWN, **more: Any) -> dict[str, Object]:
    objects = server.objects(treatment(server_, **more), address)
    return {f"{each['kind']} {each['metadata']['name']}": each for each in objects}


def pod(document: Object) -> Object:
    found: Object = document["spec"]["template"]["spec"]
    return found


def container(document: Object) -> Object:
    (only,) = pod(document)["containers"]
    return dict(only)


def test_decode_and_prefill_are_deployments_of_their_own_shape() -> None:
    prefill = {
        "replicas": 4,
        "tensor_parallel": 1,
        "args": {"max-num-seqs": 8},
        "env": {"B": "prefill"},
        "node_selector": {"gpu": "l40s"},
    }
    given = {
        **REAL,
        "replicas": 2,
        "tensor_parallel": 4,
        "args": {"max-num-seqs": 64, "block-size": 128},
        "env": {"A": "1", "B": "2"},
        "node_selector": {"pool": "gpu"},
        "prefill": prefill,
    }
    assert treatment(given).stack.accelerators == 2 * 4 + 4 * 1
    found = made(given)
    assert set(found) == {"Service server", "Deployment server", "Deployment prefill"}
    decode, other = found["Deployment server"], found["Deployment prefill"]
    assert (decode["spec"]["replicas"], other["spec"]["replicas"]) == (2, 4)
    words = container(decode)["command"], container(other)["command"]
    assert {"--tensor-parallel-size=4", "--max-num-seqs=64", "--port=8200"} <= set(words[0])
    assert {"--tensor-parallel-size=1", "--max-num-seqs=8", "--port=8000"} <= set(words[1])
    assert {"--block-size=128"} <= set(words[0]) & set(words[1])
    limits = [container(each)["resources"]["limits"] for each in (decode, other)]
    assert limits == [{"nvidia.com/gpu": "4"}, {"nvidia.com/gpu": "1"}]
    env = {each["name"]: each.get("value") for each in container(other)["env"]}
    assert (env["A"], env["B"]) == ("1", "prefill")
    assert pod(decode)["nodeSelector"] == {"pool": "gpu"}
    assert pod(other)["nodeSelector"] == {"pool": "gpu", "gpu": "l40s"}


def test_both_roles_can_hand_over_and_fetch_what_is_computed() -> None:
    found = made({**REAL, "prefill": {}})
    for each in ("Deployment server", "Deployment prefill"):
        (config,) = [
            word.partition("=")[2]
            for word in container(found[each])["command"]
            if word.startswith("--kv-transfer-config=")
        ]
        assert json.loads(config) == {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        (host,) = [e for e in container(found[each])["env"] if e["name"].endswith("CHANNEL_HOST")]
        assert host["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    own = {"args": {"kv-transfer-config": "{}"}}
    assert "--kv-transfer-config={}" in container(
        made({**REAL, "prefill": own})["Deployment prefill"]
    )["command"]  # fmt: skip


def test_the_sidecar_stands_before_the_servers_that_decode_only() -> None:
    layer = {"image": "sidecar:1", "args": {"kv-connector": "sglang"}, "resources": {"cpu": "1"}}
    found = made({**REAL, "prefill": {}, "sidecar": layer})
    (sidecar,) = pod(found["Deployment server"])["initContainers"]
    assert "initContainers" not in pod(found["Deployment prefill"])
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"] == [
        "--port=8000",
        "--model-server-port=8200",
        "--kv-connector=sglang",
        "--secure-proxy=false",
    ]
    assert sidecar["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    engine = container(found["Deployment server"])
    assert engine["readinessProbe"]["httpGet"]["port"] == 8200
    assert made(REAL).keys() == {"Service server", "Deployment server"}
    assert "initContainers" not in pod(made(REAL)["Deployment server"])


@pytest.mark.parametrize("address", [OWN, SHARED])
def test_the_pool_takes_the_pods_of_both_roles_and_each_deployment_its_own(
    address: SiteAddress,
) -> None:
    described = treatment({**REAL, "prefill": {}})
    assert isinstance(described.stack, LlmdStack)
    layer = described.stack.router
    pool = next(o for o in router.objects(layer, address) if o["kind"] == "InferencePool")
    wanted = pool["spec"]["selector"]["matchLabels"].items()
    deployed = [o for o in server.objects(described, address) if o["kind"] == "Deployment"]
    assert [d["spec"]["template"]["metadata"]["labels"]["llm-d.ai/role"] for d in deployed] == [
        "decode",
        "prefill",
    ]
    for each in deployed:
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert wanted <= labels.items()
        others = [d["spec"]["selector"]["matchLabels"] for d in deployed if d is not each]
        assert not any(other.items() <= labels.items() for other in others)
    assert roles.prefills(f"{names.prefill(address)}-6f7-x2", address)
    assert not roles.prefills(f"{names.server(address)}-6f7-x2", address)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": SPLIT.replace("disagg-profile-handler", "single-profile-handler")}, "prefill:"),
        ({"image": "registry.k8s.io/gateway-api-inference-extension/epp:v1.2.0"}, "router.image"),
    ],
)
def test_servers_to_which_nothing_would_be_sent_are_refused(
    change: dict[str, str], told: str
) -> None:
    split = {**REAL, "prefill": {}}
    with pytest.raises(UserError, match=told):
        checks.check(treatment(split, **change))
    checks.check(treatment(split))
    checks.check(treatment(REAL, **change))


def test_no_prefill_without_a_picker() -> None:
    described = treatment({**REAL, "prefill": {}}, gateway={"mode": "none"})
    bare = described.stack.model_copy(update={"router": type(described.stack.router)()})  # type: ignore[union-attr]
    with pytest.raises(UserError, match="only a picker whose configuration"):
        checks.check(described.model_copy(update={"stack": bare}))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ({**REAL, "args": {"tensor-parallel-size": 2}}, "write tensor_parallel"),
        ({**REAL, "prefill": {"args": {"data-parallel-size": 2}}}, "write data_parallel"),
        ({**REAL, "preset": "llama-cpp", "data_parallel": 2}, "one process"),
        ({**REAL, "preset": "llama-cpp", "prefill": {}}, "one process"),
        ({"simulated": True, "nodes": 2}, "tensor_parallel only"),
        ({"simulated": True, "prefill": {"args": {"max-num-seqs": 8}}}, "has no args"),
        ({"simulated": True, "prefill": {"data_parallel": 2}}, "has no data_parallel"),
        ({**REAL, "nodes": 2, "tensor_parallel": 3}, "no whole number"),
        ({**REAL, "nodes": 2, "data_parallel": 3, "tensor_parallel": 2}, "a multiple of nodes"),
        ({**REAL, "nodes": 2, "tensor_parallel": 2, "prefill": {}}, "cannot have prefill"),
    ],
)
def test_a_shape_that_is_not_whole_is_refused(layer: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        treatment(layer)


def test_sets_of_weights_and_parts_of_layers_share_a_pod() -> None:
    shape = {"tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 2}
    told = container(made({**REAL, **shape}, accelerator="MI300X")["Deployment server"])
    assert {"--pipeline-parallel-size=2", "--data-parallel-size=2"} <= set(told["command"])
    assert told["resources"]["limits"] == {"amd.com/gpu": "8"}


def groups(layer: dict[str, Any]) -> tuple[Object, Object, Object]:
    """Give a LeaderWorkerSet's spec, and the containers of leader and worker."""
    document = made({**REAL, **layer})["LeaderWorkerSet server"]
    (answers,) = [o for name, o in made({**REAL, **layer}).items() if name == "Service server"]
    template = document["spec"]["leaderWorkerTemplate"]
    leader, worker = template["leaderTemplate"], template["workerTemplate"]
    assert answers["spec"]["selector"].items() <= leader["metadata"]["labels"].items()
    here = placed(OWN, Step.SERVER, document)["spec"]["leaderWorkerTemplate"]
    marks = OWN.labels() | {"llmatrix.dev/step": "server"}
    assert marks.items() <= here["leaderTemplate"]["metadata"]["labels"].items()
    assert here["workerTemplate"]["metadata"]["labels"] == marks  # and so in no pool
    (first,), (other,) = leader["spec"]["containers"], worker["spec"]["containers"]
    return document["spec"], first, other


def test_one_set_of_weights_on_several_nodes() -> None:
    spec, leader, worker = groups(
        {"replicas": 2, "nodes": 2, "tensor_parallel": 8, "pipeline_parallel": 2}
    )
    assert (spec["replicas"], spec["leaderWorkerTemplate"]["size"]) == (2, 2)
    assert leader["resources"]["limits"] == worker["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    both = {
        "--nnodes=$(LWS_GROUP_SIZE)",
        "--node-rank=$(LWS_WORKER_INDEX)",
        "--master-addr=$(LWS_LEADER_ADDRESS)",
        "--distributed-executor-backend=mp",
    }
    assert both <= set(leader["command"]) & set(worker["command"])
    assert set(worker["command"]) - set(leader["command"]) == {"--headless"}
    assert "readinessProbe" in leader
    assert "readinessProbe" not in worker


def test_sets_of_weights_on_several_nodes_are_numbered() -> None:
    _, leader, worker = groups({"nodes": 2, "tensor_parallel": 8, "data_parallel": 2})
    assert "--data-parallel-size-local=1" in leader["command"]
    assert worker["command"][-1] == "--data-parallel-start-rank=$(LWS_WORKER_INDEX)"
    _, leader, worker = groups({"nodes": 2, "tensor_parallel": 2, "data_parallel": 8})
    assert "--data-parallel-size-local=4" in leader["command"]
    assert not any("start-rank" in word for word in leader["command"])
    shell = worker["command"]
    echo = [*shell[:4], "echo", *shell[4:]]
    sets = {each["name"]: each.get("value") for each in worker["env"]}["LLMATRIX_SETS"]
    said = subprocess.run(
        echo, env={"LWS_WORKER_INDEX": "1", "LLMATRIX_SETS": str(sets), "PATH": "/bin:/usr/bin"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.split()[:3] == ["vllm", "serve", "Qwen/Qwen3-0.6B"]
    assert said.split()[-2:] == ["--headless", "--data-parallel-start-rank=4"]


def test_only_the_first_pod_of_a_group_answers() -> None:
    wide = treatment({**REAL, "nodes": 2, "tensor_parallel": 16}).stack.server  # type: ignore[union-attr]
    assert [roles.answers(wide, pod, OWN) for pod in ("server-0", "server-1", "server-0-1")] == [
        True,
        True,
        False,
    ]
    alone = treatment(REAL).stack.server  # type: ignore[union-attr]
    assert roles.answers(alone, "server-6c5d-x9", OWN)


def status(document: Object, **containers: Any) -> Object:
    """Give a pod of a Deployment with these states of its containers."""
    spec = pod(document)

    def of(listed: list[Object]) -> list[Object]:
        return [
            {"name": c["name"], "image": c["image"], "state": {"running": {}}, "restartCount": 0,
             **containers.get(c["name"], {})}
            for c in listed
        ]  # fmt: skip

    return {
        "metadata": {"name": "server-0", "uid": "u"},
        "spec": spec,
        "status": {
            "conditions": containers.get("conditions", []),
            "initContainerStatuses": of(spec.get("initContainers", [])),
            "containerStatuses": of(spec["containers"]),
        },
    }


def test_what_keeps_a_server_from_starting_is_told_from_its_pod() -> None:
    deployed = made({**REAL, "tensor_parallel": 4, "prefill": {}})["Deployment server"]
    assert pods.trouble(status(deployed)) is None

    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    short = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = pods.trouble(status(deployed, conditions=[short | {"message": message}]))
    assert found is not None
    assert "it asks for nvidia.com/gpu 4;" in found.message

    crash = {"exitCode": 1, "reason": "Error"}
    again = {"lastState": {"terminated": crash}, "state": {"waiting": {"reason": "x"}}}
    found = pods.trouble(status(deployed, server=again))
    assert found is not None
    assert (found.container, found.previous, found.patience_s) == ("server", True, 0.0)
    assert found.failure is FailureClass.SERVER

    killed = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    found = pods.trouble(status(deployed, server=killed))
    assert found is not None
    assert "more memory than it may" in found.message

    missing = {"state": {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}}
    found = pods.trouble(status(deployed, sidecar=missing))
    assert found is not None
    assert found.message.startswith("image 'ghcr.io/llm-d/llm-d-router-disagg-sidecar")
    assert found.failure is FailureClass.USER

    ended = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    found = pods.trouble(status(deployed, sidecar=ended))
    assert found is not None
    assert found.container == "sidecar"


def test_the_picker_of_llm_d_is_understood_by_its_own_names() -> None:
    text = 'llm_d_epp_ready_endpoints{name="p"} 3\n'
    assert data_plane._rows(text, data_plane._READY_PODS) == [text.strip()]
    old = 'inference_pool_ready_pods{name="p"} 2\n'
    assert data_plane._rows(text + old, data_plane._READY_PODS) == [old.strip()]


def test_a_configuration_that_splits_is_known() -> None:
    config = treatment(REAL).stack.router.config  # type: ignore[union-attr]
    assert config is not None
    picker_config.check(config)
    assert picker_config.splits(config)
    kinds = {plugin["type"] for plugin in yaml.safe_load(SPLIT)["plugins"]}
    assert kinds & picker_config.SPLITS


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start the simulated servers of both roles as their pods would; give their addresses."""
    found = made({"simulated": True, "prefill": {}})
    started, urls = [], {}
    try:
        for name in ("server", "prefill"):
            command = container(found[f"Deployment {name}"])["command"]
            file = tmp_path / f"{name}.json"
            place = {"--port=8000": "--port=0", "--host=0.0.0.0": "--host=127.0.0.1"}
            words = [place.get(word, word) for word in command[1:]]
            started.append(subprocess.Popen([sys.executable, *words, f"--announce={file}"]))
            until = time.monotonic() + 30
            while not file.exists():
                assert started[-1].poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            (urls[name],) = json.loads(file.read_text())["servers"]
        yield urls
    finally:
        for each in started:
            each.terminate()
            each.wait()


def test_a_simulated_server_that_decodes_has_its_prompts_prefilled_where_the_picker_says(
    simulated: dict[str, str],
) -> None:
    def prompts(name: str) -> float:
        text = ask("GET", f"{simulated[name]}/metrics").body.decode()
        (row,) = [r for r in text.splitlines() if r.startswith("vllm:prompt_tokens_total")]
        return float(row.rpartition(" ")[2])

    body = {"model": "Qwen/Qwen3-0.6B", "prompt": "word " * 64, "max_tokens": 4}
    assert ask("POST", f"{simulated['server']}/v1/completions", document=body).status == 200
    assert (prompts("server"), prompts("prefill")) == (64.0, 0.0)
    other = simulated["prefill"].removeprefix("http://")
    sent = urllib.request.Request(  # noqa: S310 - to 127.0.0.1
        f"{simulated['server']}/v1/completions",
        data=json.dumps(body | {"prompt": "other " * 64}).encode(),
        headers={PREFILLER.decode(): other, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent, timeout=10) as answer:  # noqa: S310
        assert answer.status == 200
    assert prompts("prefill") == 64.0
