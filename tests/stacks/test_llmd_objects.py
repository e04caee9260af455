"""The objects of an llm-d stack, layer by layer; that they work together is shown in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmatrix.cluster.kinds import Object
from llmatrix.plan.keys import deployment
from llmatrix.plan.step import Step
from llmatrix.spec.experiment import Model, Treatment
from llmatrix.spec.llmd import LlmdStack
from llmatrix.stacks import site_rights
from llmatrix.stacks.llmd import data_plane, gateway, router, server
from llmatrix.stacks.site_address import SiteAddress
from stacks.addresses import OWN, SHARED

ROUTER = {"config": {"text": "plugins: []", "name": "r.yaml"}}
WORKLOAD = {"kind": "random", "question_len": 16, "output_len": 4, "load": {"concurrency": 1}}
Make = Callable[..., Treatment]


@pytest.fixture
def treatment() -> Make:
    def make(**stack: Any) -> Treatment:
        described = {"kind": "llm-d", "router": ROUTER, "server": {"simulated": True}} | stack
        return Treatment.model_validate(
            {"model": {"name": "tiny-1B"}, "stack": described, "workload": WORKLOAD}
        )

    return make


def stack_of(treatment: Treatment) -> LlmdStack:
    assert isinstance(treatment.stack, LlmdStack)
    return treatment.stack


def by_kind(objects: list[Object]) -> dict[str, Object]:
    return {each["kind"]: each for each in objects}


def container(objects: list[Object]) -> Object:
    (only,) = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def servers(treatment: Treatment, address: SiteAddress = OWN) -> list[Object]:
    return server.objects(treatment, address)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"router": {**ROUTER, "flags": {"v": 4}}}, {Step.ROUTER}),
        ({"server": {"simulated": True, "replicas": 3}}, {Step.SERVER}),
        ({"accelerator": "A100"}, {Step.SERVER}),
        ({"gateway": {"proxy": {"image": "envoy:2"}}}, {Step.GATEWAY, Step.ROUTER}),
        ({"gateway": {"mode": "gateway", "class_name": "eg"}}, {Step.GATEWAY, Step.ROUTER}),
        ({"model": {"source": "hostpath", "path": "/m"}}, {Step.MODEL, Step.SERVER}),
    ],
)
def test_a_layer_changes_its_own_step_and_those_that_stand_on_it(
    treatment: Make, change: dict[str, Any], steps: set[Step]
) -> None:
    def keys(made: Treatment) -> dict[Step, str]:
        model = Model(name="tiny-1B")
        return dict(deployment("e", model, made.stack, stack_version="1", repetition=0).keys)

    before, after = keys(treatment()), keys(treatment(**change))
    assert {step for step in before if before[step] != after[step]} == steps


def test_envoy_asks_the_picker_of_its_site_and_goes_where_that_says(treatment: Make) -> None:
    for address, host in ((OWN, "picker.site.svc"), (SHARED, f"{SHARED.name}-picker.home.svc")):
        objects = gateway.objects(stack_of(treatment()).gateway, address)
        (config,) = by_kind(objects)["ConfigMap"]["data"].values()
        clusters = {
            each["name"]: each for each in json.loads(config)["static_resources"]["clusters"]
        }
        (endpoints,) = clusters["picker"]["load_assignment"]["endpoints"]
        (endpoint,) = endpoints["lb_endpoints"]
        assert endpoint["endpoint"]["address"]["socket_address"] == {
            "address": host,
            "port_value": 9002,
        }
        assert clusters["picked"]["original_dst_lb_config"]["http_header_name"] == (
            "x-gateway-destination-endpoint"
        )


def test_without_a_gateway_nothing_stands_before_the_servers(treatment: Make) -> None:
    assert gateway.objects(stack_of(treatment(gateway={"mode": "none"})).gateway, OWN) == []


def test_the_pickers_flags_name_the_metrics_of_the_engine_and_the_users_win(
    treatment: Make,
) -> None:
    flags = {"refresh-metrics-interval": "20ms", "tracing": True}
    layer = stack_of(treatment(router={**ROUTER, "flags": flags})).router
    told = container(router.objects(layer, SHARED))["args"]
    assert "--kv-cache-usage-percentage-metric=vllm:kv_cache_usage_perc" in told
    assert "--refresh-metrics-interval=20ms" in told
    assert "--tracing=true" in told
    assert "--metrics-endpoint-auth=false" in told
    assert "--pool-namespace=home" in told
    assert f"--pool-name={SHARED.name}-picker" in told
    assert router.reads(layer) == ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
    llama = stack_of(treatment(router={**ROUTER, "metrics": "llama-cpp"})).router
    assert router.reads(llama) == ["llamacpp:requests_deferred"]


LATE = "apiVersion: llm-d.ai/v1alpha1\nplugins: "
EXTRACTOR = """
- type: core-metrics-extractor
  parameters:
    defaultEngine: mine
    engineConfigs: [{name: mine, queuedRequestsSpec: "mine:waiting{a=b}"}]
"""


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (f"{LATE}[]", ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]),
        (f"{LATE}{EXTRACTOR}", ["mine:waiting"]),
        (f"{LATE}{EXTRACTOR.replace('name: mine', 'name: other')}", []),
        (
            f"{LATE}[{{type: core-metrics-extractor, parameters: {{engineConfigs: [1]}}}}]",
            ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"],
        ),
    ],
)
def test_a_picker_that_knows_metrics_by_its_configuration_gets_no_flags_for_them(
    text: str, reads: list[str], treatment: Make
) -> None:
    """Those of llm-d end at once when they are given any."""
    layer = stack_of(treatment(router={"config": {"text": text, "name": "r.yaml"}})).router
    assert not [arg for arg in container(router.objects(layer, OWN))["args"] if "-metric=" in arg]
    assert router.reads(layer) == reads
    told = stack_of(treatment(router={**ROUTER, "metrics": "configured"})).router
    assert not [arg for arg in container(router.objects(told, OWN))["args"] if "-metric=" in arg]
    vllm = stack_of(treatment(router={"config": layer.config, "metrics": "vllm"})).router
    assert [arg for arg in container(router.objects(vllm, OWN))["args"] if "-metric=" in arg]


def test_a_pool_selects_the_servers_pods_and_names_its_picker(treatment: Make) -> None:
    layer = stack_of(treatment()).router
    for address in (OWN, SHARED):
        made = by_kind(router.objects(layer, address))
        pool, service = made["InferencePool"]["spec"], made["Service"]
        labels = by_kind(servers(treatment(), address))["Deployment"]["spec"]["template"]
        assert pool["selector"]["matchLabels"].items() <= labels["metadata"]["labels"].items()
        assert pool["endpointPickerRef"]["name"] == service["metadata"]["name"]
        assert pool["endpointPickerRef"]["port"]["number"] in {
            port["port"] for port in service["spec"]["ports"]
        }
        assert made["ConfigMap"]["data"] == {"picker.yaml": "plugins: []"}


def test_the_steps_may_give_the_picker_its_rights(treatment: Make) -> None:
    """Nobody may give a right away that he does not have."""

    def pairs(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    role = by_kind(router.objects(stack_of(treatment()).router, OWN))["Role"]
    assert pairs(role["rules"]) <= pairs([*site_rights.ON_SITE, *site_rights.MORE_ON_SITE["llm-d"]])
    assert not pairs(role["rules"]) <= pairs(site_rights.ON_SITE)


def test_names_are_the_sites_own_and_not_too_long(treatment: Make) -> None:
    made = treatment()
    objects = [
        *gateway.objects(stack_of(made).gateway, SHARED),
        *router.objects(stack_of(made).router, SHARED),
        *servers(made, SHARED),
    ]
    for each in objects:
        name = each["metadata"]["name"]
        assert name.startswith(SHARED.name)
        assert len(f"{name}-0123456789") <= 63


def test_a_simulated_server_is_told_what_the_engine_is(treatment: Make) -> None:
    engine = {"max_num_seqs": 8, "startup": 1.5, "enable_prefix_caching": False}
    made = treatment(
        accelerator="A100", server={"simulated": True, "tensor_parallel": 2, "engine": engine}
    )
    told = container(servers(made))
    assert told["image"] == "reg/llmatrix:1"
    assert {
        "--accelerator=A100",
        "--tensor-parallel-size=2",
        "--max-num-seqs=8",
        "--startup-seconds=1.5",
        "--no-enable-prefix-caching",
        "--replicas=1",
    } <= set(told["command"])


def test_vllm_serves_on_its_accelerators_and_can_forget_its_prefixes(treatment: Make) -> None:
    described = {
        "image": "vllm/vllm-openai:v0.11.0",
        "replicas": 3,
        "tensor_parallel": 4,
        "args": {"max-num-seqs": 64, "enforce-eager": True, "enable-prefix-caching": False},
        "env": {"HF_HUB_OFFLINE": "1"},
        "resources": {"cpu": "8"},
        "node_selector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu"}],
    }
    made = treatment(server=described)
    assert made.stack.accelerators == 12
    told = container(servers(made))
    assert told["command"][:3] == ["vllm", "serve", "tiny-1B"]
    assert {"--tensor-parallel-size=4", "--max-num-seqs=64", "--enforce-eager"} <= set(
        told["command"]
    )
    assert not any("prefix" in word for word in told["command"])
    assert told["resources"] == {
        "requests": {"cpu": "8", "nvidia.com/gpu": "4"},
        "limits": {"nvidia.com/gpu": "4"},
    }
    assert {"name": "VLLM_SERVER_DEV_MODE", "value": "1"} in told["env"]
    deployed = by_kind(servers(made))["Deployment"]["spec"]
    assert deployed["replicas"] == 3
    pod = deployed["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("model", "path", "volume"),
    [
        (
            {"source": "pvc", "claim": "weights", "path": "qwen/8b"},
            "/models/qwen/8b",
            {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}},
        ),
        ({"source": "hostpath", "path": "/data/q"}, "/models", {"hostPath": {"path": "/data/q"}}),
        (
            {"source": "oci", "image": "reg/models/qwen:8b", "path": "q"},
            "/models/q",
            {"image": {"reference": "reg/models/qwen:8b", "pullPolicy": "IfNotPresent"}},
        ),
    ],
)
def test_files_that_are_there_are_mounted_and_loaded(
    treatment: Make, model: dict[str, Any], path: str, volume: Object
) -> None:
    made = treatment(model=model, server={"image": "vllm:1"})
    told = container(servers(made))
    assert told["command"][2] == path
    assert "--served-model-name=tiny-1B" in told["command"]
    assert told["volumeMounts"][-1] == {"name": "model", "mountPath": "/models", "readOnly": True}
    pod = by_kind(servers(made))["Deployment"]["spec"]["template"]["spec"]
    assert pod["volumes"][-1] == {"name": "model", **volume}


def test_llama_cpp_needs_no_accelerator(treatment: Make) -> None:
    made = treatment(
        router={**ROUTER, "metrics": "llama-cpp"},
        model={"source": "pvc", "claim": "w", "path": "tiny.gguf"},
        server={"preset": "llama-cpp", "image": "llama:1", "args": {"threads": 1}},
    )
    assert made.stack.accelerators == 0
    told = container(servers(made))
    assert "command" not in told
    words = told["args"]
    assert words[words.index("--model") + 1] == "/models/tiny.gguf"
    assert words[words.index("--alias") + 1] == "tiny-1B"
    assert words[words.index("--threads") + 1] == "1"
    assert "--metrics" in words
    assert told["resources"] == {"requests": {}}


@pytest.mark.parametrize(
    ("stack", "told"),
    [
        ({"server": {}}, "needs image"),
        ({"server": {"simulated": True, "args": {"x": 1}}}, "has no args"),
        ({"server": {"image": "v:1", "engine": {"block_size": 32}}}, "write args"),
        ({"server": {"simulated": True, "preset": "llama-cpp"}}, "leave preset out"),
        ({"model": {"source": "pvc"}}, "needs claim"),
        ({"model": {"source": "server", "claim": "x"}}, "takes no claim"),
        ({"model": {"source": "pvc", "claim": "x", "path": "../y"}}, "leads out"),
        ({"model": {"source": "hostpath", "path": "y"}}, "absolute"),
    ],
)
def test_a_layer_that_is_not_whole_is_refused(
    treatment: Make, stack: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        treatment(**stack)


def test_names_of_metrics_are_read_with_and_without_labels() -> None:
    text = '# HELP a b\na 1\nvllm:x{model="a b"} 2\nc_bucket{le="1"} 3\n\n'
    assert data_plane.names(text) == {"a", "vllm:x", "c_bucket"}


def test_a_picker_that_refuses_the_flags_for_metrics_is_advised() -> None:
    last = 'flag "lora-info-metric" is deprecated and cannot be used; configure metrics via it'
    assert "stack.router.metrics: configured" in router.advice(f"starting\n{last}")
    assert router.advice("starting\nit ended") == ""
