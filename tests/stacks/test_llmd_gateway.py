"""A Gateway before the picker: its objects, what controllers say of them, and its class."""

from __future__ import annotations

from typing import Any

import pytest

from llmatrix.cluster.kinds import Object
from llmatrix.errors import FailureClass, StepFailure
from llmatrix.spec.llmd import LlmdGateway, LlmdStack
from llmatrix.stacks import site_rights
from llmatrix.stacks.llmd import (
    conditions,
    envoy,
    gateway,
    gateway_api,
    gateway_class,
    gateway_faults,
    gateway_support,
    names,
)
from llmatrix.stacks.site_address import SiteAddress
from stacks.addresses import OWN, SHARED

SUPPORTS = tuple(gateway_support.KINDS)


def layer(support: str = "inference-pool", **more: Any) -> LlmdGateway:
    described = {"mode": "gateway", "class_name": "some", "support": support} | more
    return LlmdGateway.model_validate(described)


def objects(made: LlmdGateway, address: SiteAddress = OWN) -> dict[str, Object]:
    return {each["kind"]: each for each in gateway.objects(made, address)}


def test_a_class_that_knows_pools_needs_a_gateway_and_a_route_only() -> None:
    made = objects(layer(listener_port=8080), SHARED)
    assert set(made) == {"Gateway", "HTTPRoute"}
    name = names.gate(SHARED)
    assert {each["metadata"]["name"] for each in made.values()} == {name}
    spec = made["Gateway"]["spec"]
    assert spec["gatewayClassName"] == "some"
    assert [(each["protocol"], each["port"]) for each in spec["listeners"]] == [("HTTP", 8080)]
    (rule,) = made["HTTPRoute"]["spec"]["rules"]
    assert made["HTTPRoute"]["spec"]["parentRefs"] == [{"name": name}]
    assert rule["timeouts"] == {"request": "0s"}
    assert rule["backendRefs"] == [
        {
            "group": "inference.networking.k8s.io",
            "kind": "InferencePool",
            "name": names.picker(SHARED),
        }
    ]


def test_envoy_gateway_asks_the_picker_and_goes_where_that_says() -> None:
    made = objects(layer("envoy-gateway"))
    (endpoint,) = made["Backend"]["spec"]["endpoints"]
    assert endpoint == {"fqdn": {"hostname": "picker.site.svc", "port": names.PICKER_PORT}}
    assert made["Backend"]["spec"]["tls"] == {"insecureSkipVerify": True}
    asks = made["EnvoyExtensionPolicy"]["spec"]
    assert asks["targetRefs"][0]["name"] == made["HTTPRoute"]["metadata"]["name"]
    (ask,) = asks["extProc"]
    assert ask["messageTimeout"] == "10s"
    assert ask["backendRefs"][0]["name"] == made["Backend"]["metadata"]["name"]
    sends = made["EnvoyPatchPolicy"]["spec"]
    assert sends["targetRef"]["name"] == made["Gateway"]["metadata"]["name"]
    add, redirect = sends["jsonPatches"]
    assert redirect["name"] == "site/gate/http"
    assert redirect["operation"]["value"] == add["name"] == add["operation"]["value"]["name"]


def test_both_ways_of_envoy_send_to_the_picked_server() -> None:
    alone = envoy.bootstrap("picker.site.svc")["static_resources"]["clusters"]
    patches = objects(layer("envoy-gateway"))["EnvoyPatchPolicy"]["spec"]["jsonPatches"]
    assert patches[0]["operation"]["value"] in alone
    header = patches[0]["operation"]["value"]["original_dst_lb_config"]["http_header_name"]
    assert header == names.DESTINATION


def test_a_request_that_the_patch_does_not_send_reaches_no_server() -> None:
    """It must fail: one that went past the picker's choice would be measured."""
    (rule,) = objects(layer("envoy-gateway"))["HTTPRoute"]["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    assert backend["kind"] == "Backend"
    (endpoint,) = objects(layer("envoy-gateway"))["Backend"]["spec"]["endpoints"]
    assert endpoint["fqdn"]["port"] != names.SERVER_PORT


def test_istio_and_gke_get_what_their_charts_give_them() -> None:
    rule = objects(layer("istio"))["DestinationRule"]["spec"]
    assert rule["host"] == names.picker(OWN)
    assert rule["trafficPolicy"]["tls"] == {"mode": "SIMPLE", "insecureSkipVerify": True}
    made = objects(layer("gke"))
    assert "timeouts" not in made["HTTPRoute"]["spec"]["rules"][0]
    check = made["HealthCheckPolicy"]["spec"]
    assert check["default"]["config"]["httpHealthCheck"]["port"] == names.SERVER_PORT
    for policy in ("HealthCheckPolicy", "GCPBackendPolicy"):
        assert made[policy]["spec"]["targetRef"]["name"] == names.picker(OWN)


@pytest.mark.parametrize("support", SUPPORTS)
def test_the_steps_have_the_rights_for_all_that_a_gateway_is_made_of(support: str) -> None:
    made = layer(support)
    rules = [
        rule for name in site_rights.of_gateway(made) for rule in site_rights.MORE_ON_SITE[name]
    ]
    groups = {group for rule in rules for group in rule["apiGroups"]}
    verbs = {"get", "list", "create", "patch", "delete"}
    assert {each["apiVersion"].partition("/")[0] for each in objects(made).values()} == groups
    assert all(set(rule["verbs"]) == verbs for rule in rules)
    plurals = {resource for rule in rules for resource in rule["resources"]}
    assert {kind.plural for kind in gateway_support.KINDS[support]} <= plurals
    assert set(objects(made)) == {
        "Gateway",
        "HTTPRoute",
        *(kind.name for kind in gateway_support.KINDS[support]),
    }


def test_only_gateways_need_the_rights_for_them() -> None:
    described: dict[str, Any] = {"kind": "llm-d", "server": {"simulated": True}}
    assert site_rights.needs(LlmdStack.model_validate(described)) == {"llm-d"}
    described["gateway"] = layer("envoy-gateway").model_dump()
    needed = {"llm-d", "llm-d-gateway", "llm-d-envoy-gateway"}
    assert site_rights.needs(LlmdStack.model_validate(described)) == needed
    described["gateway"] = layer().model_dump()
    assert site_rights.needs(LlmdStack.model_validate(described)) == {"llm-d", "llm-d-gateway"}


def test_labels_and_annotations_reach_the_gateway_and_what_is_made_for_it() -> None:
    given: dict[str, Any] = {"labels": {"team": "a"}, "annotations": {"networking.gke.io/x": "y z"}}
    made = objects(layer(**given))["Gateway"]
    assert made["metadata"]["labels"] == made["spec"]["infrastructure"]["labels"] == {"team": "a"}
    assert made["spec"]["infrastructure"]["annotations"] == given["annotations"]
    assert "infrastructure" not in objects(layer())["Gateway"]["spec"]


def test_a_gateway_has_a_class() -> None:
    with pytest.raises(ValueError, match="needs class_name"):
        LlmdGateway.model_validate({"mode": "gateway"})
    assert LlmdGateway.model_validate({"mode": "none", "class_name": "x"}).mode == "none"


# What controllers say


def condition(name: str, status: str, reason: str = "R", generation: int | None = 2) -> Object:
    told: Object = {"type": name, "status": status, "reason": reason, "message": "so\n it is"}
    return told if generation is None else told | {"observedGeneration": generation}


def standing(kind: str, *told: Object, **status: Any) -> Object:
    metadata = {"name": "gate", "namespace": "site", "generation": 2}
    if kind == "HTTPRoute":
        status = {"parents": [{"parentRef": {"name": "gate"}, "conditions": list(told)}]}
    elif kind.endswith("Policy"):
        status = {"ancestors": [{"conditions": list(told)}]}
    else:
        status = {"conditions": list(told), **status}
    return {"kind": kind, "metadata": metadata, "status": status}


def missing(document: Object) -> list[tuple[str, str]]:
    return [(each.condition, each.reason) for each in conditions.unmet(document, "gate")]


@pytest.mark.parametrize("kind", sorted(conditions.WANTED))
def test_all_conditions_of_a_kind_must_hold(kind: str) -> None:
    wanted = conditions.WANTED[kind]
    assert missing(standing(kind, *(condition(name, "True") for name in wanted))) == []
    silent = {"kind": kind, "metadata": {"name": "gate", "namespace": "site"}}
    assert missing(silent) == [(name, "") for name in wanted]
    assert missing(standing(kind, condition(wanted[0], "False", "Bad")))[0] == (wanted[0], "Bad")


def test_what_is_said_of_an_older_generation_does_not_count() -> None:
    old = [condition(name, "True", generation=1) for name in ("Accepted", "Programmed")]
    assert missing(standing("Gateway", *old)) == [("Accepted", ""), ("Programmed", "")]
    # Envoy Gateway tells no generation when it has programmed a patch; 0 is none.
    for untold in (0, None):
        held = [condition("Accepted", "True"), condition("Programmed", "True", generation=untold)]
        assert missing(standing("EnvoyPatchPolicy", *held)) == []


def test_the_definitions_default_is_no_controllers_word() -> None:
    waits = condition("Programmed", "Unknown", "Pending", generation=None)
    (each,) = conditions.unmet(standing("Gateway", condition("Accepted", "True"), waits), "gate")
    assert not each.told
    assert each.passing
    assert str(each) == "Gateway site/gate is not Programmed: no controller has said anything of it"


def test_what_is_said_of_other_gateways_routes_is_nothing_to_us() -> None:
    document = standing(
        "HTTPRoute", condition("Accepted", "True"), condition("ResolvedRefs", "True")
    )
    other = {"parentRef": {"name": "other"}, "conditions": [condition("Accepted", "False")]}
    document["status"]["parents"].append(other)
    assert missing(document) == []
    document["status"]["parents"] = [other]
    assert missing(document) == [("Accepted", ""), ("ResolvedRefs", "")]


def test_a_listener_says_why_its_gateway_is_not_accepted() -> None:
    listeners = [
        {"name": "http", "conditions": [condition("Accepted", "False", "PortUnavailable")]}
    ]
    document = standing(
        "Gateway",
        condition("Accepted", "False", "ListenersNotValid"),
        condition("Programmed", "True"),
        listeners=listeners,
    )
    told = [str(each) for each in conditions.unmet(document, "gate")]
    assert told == [
        "Gateway site/gate is not Accepted (ListenersNotValid: so it is)",
        "listener http of Gateway site/gate is not Accepted (PortUnavailable: so it is)",
    ]


@pytest.mark.parametrize(
    ("reason", "passing"),
    [
        ("NoResources", True),
        ("AddressNotAssigned", True),
        ("BackendNotFound", True),
        ("InvalidKind", False),
        ("Disabled", False),
        ("NotAllowedByListeners", False),
    ],
)
def test_only_what_may_come_right_is_waited_for(reason: str, passing: bool) -> None:  # noqa: FBT001
    (each,) = conditions.unmet(
        standing(
            "Gateway", condition("Accepted", "True"), condition("Programmed", "False", reason)
        ),
        "gate",
    )
    assert each.passing is passing


def test_advice_goes_with_what_is_wrong() -> None:
    wrong = conditions.Unmet("HTTPRoute a/b", "ResolvedRefs", "InvalidKind", "no such kind")
    assert "stack.gateway.support: envoy-gateway" in gateway_faults.advice(wrong, layer())
    assert gateway_faults.advice(wrong, layer("envoy-gateway")) == ""
    off = conditions.Unmet("EnvoyPatchPolicy a/b", "Accepted", "Disabled", "is disabled")
    assert "enableEnvoyPatchPolicy" in gateway_faults.advice(off, layer("envoy-gateway"))


def judged(each: conditions.Unmet, *times: float) -> None:
    watch = gateway_faults.Watch(layer())
    for now in times:
        watch.judge([each], now)


def test_a_fault_is_told_at_once_and_a_wait_is_not() -> None:
    wrong = conditions.Unmet("HTTPRoute a/b", "Accepted", "NotAllowedByListeners", "no way")
    judged(wrong, 0.0, 4.9)
    with pytest.raises(StepFailure, match=r"is not Accepted \(NotAllowedByListeners: no way\)"):
        judged(wrong, 0.0, 5.1)
    judged(conditions.Unmet("Gateway a/b", "Programmed", "NoResources"), 0.0, 299.0)


def test_what_no_controller_speaks_about_is_told_with_the_class() -> None:
    silent = conditions.Unmet("Gateway a/b", "Accepted")
    judged(silent, 0.0, 29.0)
    with pytest.raises(StepFailure, match="Is there a GatewayClass some,") as told:
        judged(silent, 0.0, 31.0)
    assert told.value.failure is FailureClass.USER
    # The pool that a route leads to is made by a later step.
    judged(conditions.Unmet("HTTPRoute a/b", "ResolvedRefs"), 0.0, 99.0)
    judged(conditions.Unmet("HTTPRoute a/b", "ResolvedRefs", "BackendNotFound"), 0.0, 99.0)


def test_a_condition_that_held_meanwhile_begins_anew() -> None:
    watch = gateway_faults.Watch(layer())
    wrong = conditions.Unmet("HTTPRoute a/b", "Accepted", "Bad")
    for now, found in ((0.0, [wrong]), (4.0, []), (8.0, [wrong]), (12.0, [wrong])):
        watch.judge(found, now)


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        ([{"type": "IPAddress", "value": "10.0.0.9"}], "http://10.0.0.9:80"),
        ([{"value": "fd00::1"}], "http://[fd00::1]:80"),
        (
            [
                {"type": "Hostname", "value": "lb.example"},
                {"type": "IPAddress", "value": "1.2.3.4"},
            ],
            "http://1.2.3.4:80",
        ),
        ([{"type": "Hostname", "value": "lb.example"}], "http://lb.example:80"),
        ([], None),
    ],
)
def test_a_gateway_is_reached_by_its_address(addresses: list[Object], url: str | None) -> None:
    document = objects(layer())["Gateway"] | {"status": {"addresses": addresses}}
    assert gateway_api.address_of(document) == url


# Its class

ENVOY = "gateway.envoyproxy.io/gatewayclass-controller"


def faults(
    made: LlmdGateway, controller: str, *, pools: bool = False, accepted: str = "True"
) -> list[str]:
    told = {"type": "Accepted", "status": accepted, "reason": "InvalidParameters", "message": "no"}
    found = {
        "metadata": {"name": "some"},
        "spec": {"controllerName": controller},
        "status": {"conditions": [told]},
    }
    return [
        f"{each.told}; {each.mend}" for each in gateway_class.unfit_class(found, made, pools=pools)
    ]


@pytest.mark.parametrize(
    ("controller", "pools", "support"),
    [
        (ENVOY, False, "envoy-gateway"),
        (ENVOY, True, "inference-pool"),
        ("istio.io/gateway-controller", False, "istio"),
        ("openshift.io/gateway-controller/v1", False, "istio"),
        ("networking.gke.io/gateway", False, "gke"),
        ("agentgateway.dev/agentgateway", False, "inference-pool"),
        ("kgateway.dev/kgateway", False, "inference-pool"),
    ],
)
def test_each_controller_has_its_support(
    controller: str,
    pools: bool,  # noqa: FBT001
    support: str,
) -> None:
    assert faults(layer(support), controller, pools=pools) == []
    others = [
        faults(layer(other), controller, pools=pools)
        for other in SUPPORTS
        # What was taught pools can still be patched.
        if other != support and not (pools and other == "envoy-gateway")
    ]
    assert all(len(told) == 1 for told in others)
    assert all(told[0].endswith(f"; set stack.gateway.support: {support}") for told in others)


def test_a_class_that_is_not_accepted_is_told_with_its_reason() -> None:
    (told,) = faults(layer("envoy-gateway"), ENVOY, accepted="False")
    assert "not accepted" in told
    assert "(InvalidParameters: no)" in told
    assert told.endswith("; kubectl describe gatewayclass some")


def test_extensions_of_envoy_gateway_that_are_off_are_told_with_the_command() -> None:
    on = "extensionApis: {enableBackend: true, enableEnvoyPatchPolicy: true}"
    assert list(gateway_class.switched_off(on)) == []
    (told,) = gateway_class.switched_off("extensionApis: {enableBackend: true}")
    assert "enableEnvoyPatchPolicy off" in told.told
    assert "enableBackend" not in told.mend
    (told,) = gateway_class.switched_off("")
    assert "enableBackend and enableEnvoyPatchPolicy off" in told.told
    assert list(gateway_class.switched_off(": : [")) == []
