"""Rendered sets: one form, one hash, and placed on a site."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
import yaml

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import Object
from llmatrix.cluster.programs import NotRendered
from llmatrix.plan.step import Step
from llmatrix.spec.llmd import LlmdGateway, LlmdRouter, LlmdServer
from llmatrix.stacks import kubernetes_objects
from llmatrix.stacks.llmd import brought, manifest_rules, manifest_set, placeholders
from llmatrix.stacks.site_address import SiteAddress
from stacks.addresses import OWN, SHARED

SITE, NAMESPACE = placeholders.SITE, placeholders.NAMESPACE


def deployment(name: str = SITE, **container: Any) -> Object:
    spec = {"containers": [{"name": "c", "image": "reg/c:1"} | container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    }


def service(name: str = SITE, *ports: int, **spec: Any) -> Object:
    told = [{"port": port, "targetPort": port + 1} for port in ports or (9002,)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": SITE}, "ports": told} | spec,
    }


def config_map(name: str = SITE, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pool(**selector: str) -> Object:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": SITE},
        "spec": {
            "selector": {"matchLabels": selector},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": SITE, "port": {"number": 9002}},
        },
    }


def role(*verbs: str, resource: str = "pods") -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": SITE},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}],
    }


def text(*objects: Object) -> str:
    return yaml.safe_dump_all(objects)


def canonical(*objects: Object) -> str:
    return manifest_set.read(text(*objects)).text


def test_the_order_of_what_is_rendered_is_not_in_its_hash() -> None:
    objects = [deployment(), service(), config_map(a="1"), pool(x="y")]
    sets = set()
    for seed in range(6):
        random.Random(seed).shuffle(objects)  # noqa: S311 - an order, no secret
        sets.add(canonical(*objects))
    assert len(sets) == 1
    kinds = [each["kind"] for each in json.loads(sets.pop())]
    assert kinds[-1] == "Deployment"
    assert canonical(*objects) != canonical(*objects[1:])


def test_lists_are_taken_apart_and_a_date_stays_text() -> None:
    whole = {"apiVersion": "v1", "kind": "List", "items": [service(), deployment()]}
    assert canonical(whole) == canonical(service(), deployment())
    found = manifest_set.read("apiVersion: v1\nkind: A\nmetadata: {name: x}\nday: 2026-11-24\n")
    assert found.objects[0]["day"] == "2026-11-24"


def test_hooks_are_left_out_and_named() -> None:
    hook = config_map("certs")
    hook["metadata"]["annotations"] = {"helm.sh/hook": "pre-install"}
    found = manifest_set.read(text(hook, service()))
    assert found.hooks == ("ConfigMap certs",)
    assert [each["kind"] for each in found.objects] == ["Service"]


@pytest.mark.parametrize(
    ("rendered", "told"),
    [
        ("a: [", "this is not YAML"),
        ("- x\n", "is no object"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: x}\n", "a Pod in it has no name"),
        ("apiVersion: v1\nkind: Pod\n", "is no object"),
    ],
)
def test_what_is_no_set_of_objects_is_told(rendered: str, told: str) -> None:
    with pytest.raises(NotRendered, match=told):
        manifest_set.read(rendered)


def test_accelerators_and_images_are_counted_over_all_pods() -> None:
    gpus = {"limits": {"nvidia.com/gpu": "4"}}
    objects = [deployment(resources=gpus), deployment("b", image="reg/b:2"), service()]
    assert manifest_set.accelerators(objects) == 8
    assert manifest_set.images(objects) == {"reg/c:1", "reg/b:2"}
    digest = "sha256:" + "a" * 64
    pinned = manifest_set.with_images(manifest_set.read(text(*objects)), {"reg/b:2": digest})
    assert manifest_set.images(pinned.objects) == {"reg/c:1", f"reg/b:2@{digest}"}


@pytest.mark.parametrize("address", [OWN, SHARED], ids=["own", "shared"])
def test_a_release_is_never_longer_than_the_word_for_it(address: SiteAddress) -> None:
    for step in (Step.GATEWAY, Step.ROUTER, Step.SERVER):
        assert len(placeholders.release(address, step)) <= len(SITE)
    told = placeholders.filled(f"{SITE}-epp.{NAMESPACE}.svc", address, Step.ROUTER)
    assert "placeholder" not in told
    assert told.endswith(f"-epp.{address.namespace}.svc")
    other = replace(address, name="other", namespace="other")
    assert address.own_namespace or placeholders.release(address, Step.ROUTER) != (
        placeholders.release(other, Step.ROUTER)
    )


def test_a_word_that_was_cut_is_found() -> None:
    assert placeholders.cut(f"{SITE}-epp {NAMESPACE}") == ""
    assert placeholders.cut(f"x {SITE[:20]}-epp") == SITE[:20]
    assert placeholders.cut(f"x-{NAMESPACE[:24]}-epp") == NAMESPACE[:24]
    assert placeholders.cut("llmatrix.dev/site: llmatrix-server") == ""


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"apiVersion": "v1", "kind": "Secret"}, "Secret x: the steps may not make secrets;"),
        (
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"},
            "ClusterRole x belongs to the whole cluster",
        ),
        (
            {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"},
            "CustomResourceDefinition x is a definition",
        ),
        (
            {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"},
            "may not make poddisruptionbudgets.policy;",
        ),
        ({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}, "ingresses.networking.k8s.io;"),
    ],
)
def test_what_a_site_cannot_have_is_refused_by_name(extra: Object, told: str) -> None:
    found = manifest_rules.faults(Step.ROUTER, [deployment(), {**extra, "metadata": {"name": "x"}}])
    assert any(told in words for words in found), found
    assert manifest_rules.faults(Step.ROUTER, [deployment()]) == []


def test_another_namespace_twice_the_same_and_no_pods_are_refused() -> None:
    there = config_map()
    there["metadata"]["namespace"] = "kube-system"
    found = manifest_rules.faults(Step.GATEWAY, [there, service(), service()])
    assert [words.split(" is ")[0] for words in found[:2]] == [
        f"ConfigMap {SITE}",
        f"Service {SITE}",
    ]
    assert "for namespace kube-system" in found[0]
    assert "nothing in it runs a pod" in found[2]
    there["metadata"]["namespace"] = NAMESPACE
    assert manifest_rules.faults(Step.GATEWAY, [there, deployment()]) == []


def test_rights_that_the_steps_lack_cannot_be_given() -> None:
    def binding(kind: str, name: str) -> Object:
        metadata, ref = {"name": SITE}, {"kind": kind, "name": name}
        version = "rbac.authorization.k8s.io/v1"
        return {
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": ref,
        }

    def told(*objects: Object) -> list[str]:
        return manifest_rules.faults(Step.ROUTER, [deployment(), *objects])

    assert told(role("get", "list", "watch"), binding("Role", SITE)) == []
    assert "create secrets" in told(role("create", resource="secrets"))[0]
    assert "binds ClusterRole admin" in told(binding("ClusterRole", "admin"))[0]
    assert "binds Role other" in told(role("get"), binding("Role", "other"))[0]


def test_servers_must_serve_where_the_others_look() -> None:
    def told(port: int) -> list[str]:
        return manifest_rules.faults(
            Step.SERVER, [deployment(ports=[{"containerPort": port}]), service()]
        )

    assert told(8000) == []
    assert "listens at 80, and every pod of the server layer must serve at 8000" in told(80)[0]


def test_names_that_are_not_a_sites_own_are_found() -> None:
    found = manifest_rules.not_of_a_site([config_map("fixed"), config_map(), service("x-" + SITE)])
    assert found == ["ConfigMap fixed"]


ROUTER = LlmdRouter.model_validate({"manifests": ["x.yaml"]})
GATEWAY = LlmdGateway.model_validate({"manifests": ["x.yaml"]})
SERVER = LlmdServer.model_validate({"manifests": ["x.yaml"]})


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


@pytest.mark.parametrize("address", [OWN, SHARED], ids=["own", "shared"])
def test_a_picker_is_found_by_the_name_of_the_presets(address: SiteAddress) -> None:
    rendered = canonical(deployment(), service(SITE, 9002, 9090), pool(app="server"))
    made = by_name(brought.objects(ROUTER, rendered, Step.ROUTER, address))
    name, release = address.object_name("picker"), placeholders.release(address, Step.ROUTER)
    second = made["Service", name]["spec"]
    assert second["selector"] == {"app": release, labels.SITE: address.name}
    assert [(port["port"], port["targetPort"]) for port in second["ports"]] == [
        (9002, 9003),
        (9090, 9091),
    ]
    pools = [made["InferencePool", each]["spec"] for each in (name, release)]
    assert pools[0] == pools[1]
    assert pools[0]["selector"]["matchLabels"] == {"app": "server", labels.SITE: address.name}
    assert "placeholder" not in json.dumps(list(made.values()))


def test_services_of_one_site_never_select_another_sites_pods() -> None:
    rendered = canonical(deployment(), service("fixed", 80))
    here = by_name(brought.objects(GATEWAY, rendered, Step.GATEWAY, SHARED))
    assert here["Service", "fixed"]["spec"]["selector"][labels.SITE] == SHARED.name
    front = here["Service", SHARED.object_name("gateway")]["spec"]
    assert front["ports"] == [{"name": "http", "port": 8080, "targetPort": 81}]


def test_selectors_follow_the_labels_that_pods_get() -> None:
    """Some charts select by ``managed-by: Helm``, which our pods do not carry."""
    chosen = {"app": "x", labels.MANAGED_BY: "Helm"}
    document = deployment()
    document["spec"]["selector"] = {"matchLabels": chosen}
    document["spec"]["template"]["metadata"]["labels"] = dict(chosen)
    rendered = canonical(document, service(SITE, 80, selector=chosen))
    made = brought.objects(GATEWAY, rendered, Step.GATEWAY, SHARED)
    placed = [kubernetes_objects.placed(SHARED, Step.GATEWAY, each) for each in made]
    (workload,) = [each["spec"] for each in placed if each["kind"] == "Deployment"]
    selectors = [each["spec"]["selector"] for each in placed if each["kind"] == "Service"]
    pods = workload["template"]["metadata"]["labels"].items()
    for selector in (*selectors, workload["selector"]["matchLabels"]):
        assert selector.items() <= pods
        assert selector[labels.SITE] == SHARED.name


def test_pods_of_a_brought_server_layer_get_the_servers_service() -> None:
    made = by_name(brought.objects(SERVER, canonical(deployment()), Step.SERVER, OWN))
    assert made["Service", "server"]["spec"]["ports"][0]["port"] == 8000
    assert made["Service", "server"]["spec"]["selector"] == {
        labels.SITE: OWN.name,
        labels.STEP: "server",
    }


@pytest.mark.parametrize(
    ("objects", "layer", "told"),
    [
        ([], ROUTER, "no Service with port 9002"),
        ([service("a"), service("b")], ROUTER, "several Services or ports with port 9002"),
        ([service("a", selector=None)], ROUTER, "no Service with port 9002"),
        ([service("a")], ROUTER.model_copy(update={"service": "z"}), "no Service z with"),
        ([service("picker")], ROUTER, "Service picker has no port 9090"),
    ],
)
def test_a_picker_that_cannot_be_told_is_refused(
    objects: list[Object], layer: LlmdRouter, told: str
) -> None:
    with pytest.raises(brought.NoFront, match=told):
        brought.objects(layer, canonical(deployment(), *objects), Step.ROUTER, OWN)


def test_service_and_port_choose_among_several() -> None:
    layer = ROUTER.model_copy(update={"service": f"{SITE}-b", "port": 77})
    rendered = canonical(deployment(), service(f"{SITE}-a"), service(f"{SITE}-b", 77, 78))
    made = by_name(brought.objects(layer, rendered, Step.ROUTER, OWN))
    assert made["Service", "picker"]["spec"]["ports"][0]["targetPort"] == 78


CONFIG = "apiVersion: x\nkind: EndpointPickerConfig\nplugins: []\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-file", "/config/p.yaml"],
        ["--config-file=/config/p.yaml"],
        ["--config-text", CONFIG],
    ],
)
def test_the_configuration_that_the_picker_reads_is_found(arguments: list[str]) -> None:
    made = [deployment(args=arguments), config_map(**{"p.yaml": CONFIG, "q.yaml": "plugins: [1]"})]
    found = brought.picker_config(made)
    assert found is not None
    assert found.text == CONFIG
    assert brought.picker_config([deployment(args=["--config-file", "/config/z.yaml"])]) is None


def test_the_metrics_that_the_picker_reads_are_those_of_its_flags_or_gaies_own() -> None:
    flag = "kv-cache-usage-percentage-metric"
    gaie = "registry.k8s.io/gateway-api-inference-extension/epp:v1.2.0"
    assert brought.reads([deployment(args=[f"--{flag}", "a{x=y}"])]) == ["a"]
    assert brought.reads([deployment(args=[f"--{flag}=a"], image=gaie)]) == [
        "vllm:num_requests_waiting",
        "a",
    ]
    assert brought.reads([deployment(image=gaie)])[1] == "vllm:gpu_cache_usage_perc"
    assert brought.reads([deployment()]) == []
