"""Experiments with gateways: the rights that they add, and the classes that are looked at."""

from __future__ import annotations

from typing import Any

import pytest

from engines.tekton.conftest import PlanOf, SettingsOf
from llmatrix.engines.tekton import gateways, roles, submitter

SERVER = {"simulated": True}
GATE = {"mode": "gateway", "class_name": "eg", "support": "envoy-gateway"}


def stack(**gateway: Any) -> dict[str, Any]:
    config = {"text": "plugins: []", "name": "p.yaml"}
    return {
        "kind": "llm-d", "gateway": gateway, "server": SERVER, "router": {"config": config}
    }  # fmt: skip


def resources(rules: roles.Rules) -> set[str]:
    return {resource for rule in rules for resource in rule["resources"]}


@pytest.mark.parametrize("namespaced", [True, False])
def test_the_steps_may_make_gateways_only_where_the_experiment_has_some(
    plan_of: PlanOf,
    settings_of: SettingsOf,
    namespaced: bool,  # noqa: FBT001
) -> None:
    run = {"cluster": {"namespaced": namespaced}}

    def allowed(**gateway: Any) -> set[str]:
        settings = settings_of(plan_of(stack=stack(**gateway), run=run))
        made = roles.account_and_roles(settings)
        assert not namespaced or all(not each["kind"].startswith("Cluster") for each in made)
        return resources([rule for each in made for rule in each.get("rules", ())])

    of_gateways = {"gateways", "httproutes"}
    of_envoy = {"backends", "envoyextensionpolicies", "envoypatchpolicies"}
    assert not allowed() & (of_gateways | of_envoy)
    assert allowed(**GATE) >= of_gateways | of_envoy
    pooled = allowed(mode="gateway", class_name="some")
    assert pooled >= of_gateways
    assert not pooled & of_envoy


def test_people_may_remove_what_lies_in_their_namespace(
    plan_of: PlanOf, settings_of: SettingsOf
) -> None:
    def rules(**cluster: Any) -> roles.Rules:
        return submitter.at_home(
            settings_of(plan_of(stack=stack(**GATE), run={"cluster": cluster}))
        )

    more = {"inferencepools", "serviceaccounts", "roles", "rolebindings", "gateways", "backends"}
    usual = [*submitter.AT_HOME]
    assert rules() == usual
    added = rules(namespaced=True)[len(usual) :]
    assert resources(added) >= more
    assert all(rule["verbs"] == ["get", "list", "delete"] for rule in added)


def test_each_class_is_looked_at_once(plan_of: PlanOf) -> None:
    levels = [
        {"mode": "standalone"},
        GATE,
        GATE | {"listener_port": 8080},
        {"mode": "gateway", "class_name": "some"},
    ]
    found = gateways.wanted(plan_of({"stack.gateway": levels}, stack=stack()))
    assert sorted((str(each.class_name), each.support) for each in found) == [
        ("eg", "envoy-gateway"),
        ("some", "inference-pool"),
    ]
