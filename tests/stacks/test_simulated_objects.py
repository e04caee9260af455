"""The objects of a simulated stack: told the same as on this machine, fit for any namespace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cluster.kinds import Object
from llmatrix.plan.trial import Trial
from llmatrix.stacks import registry, simulated, simulated_objects
from llmatrix.stacks.site_address import LONGEST_NAME, SiteAddress

Make = Callable[..., Trial]
OWN = SiteAddress(
    name="site",
    namespace="site",
    own_namespace=True,
    experiment="e",
    run="r",
    lane=0,
    expires=1,
    home="home",
    account="steps",
    image="reg/llmatrix:1",
)
SHARED = replace(OWN, name="s" * LONGEST_NAME, namespace="home", own_namespace=False)
PICKED = {"router": {"config": {"text": "plugins: []", "name": "r.yaml"}}}


def by_kind(objects: list[Object]) -> dict[str, Object]:
    return {each["kind"]: each for each in objects}


def container(workload: Object) -> Object:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.fixture
def treatment(make_trial: Make) -> Callable[..., Any]:
    def make(**more: Any) -> Any:
        return make_trial({"kind": "simulated", "replicas": 3, **more}).treatment

    return make


def test_each_replica_is_a_pod_told_what_a_process_here_is_told(
    treatment: Callable[..., Any],
) -> None:
    engine = {"max_num_seqs": 8, "startup": 1.5, "enable_prefix_caching": False}
    wanted = treatment(engine=engine, tensor_parallel=2)
    stateful = by_kind(simulated_objects.servers(wanted, OWN))["StatefulSet"]
    assert stateful["spec"]["replicas"] == 3
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"
    here = set(simulated._server_command(wanted, Path("/x"))[1:])
    there = set(container(stateful)["command"][1:])
    placed = {"--replicas", "--host", "--port", "--announce"}
    differs = {option.partition("=")[0] for option in here ^ there}
    assert differs == placed
    assert {"--replicas=1", "--host=0.0.0.0", "--port=8000"} <= there
    assert "--no-enable-prefix-caching" in there


def test_the_image_is_the_stacks_or_that_of_the_steps(treatment: Callable[..., Any]) -> None:
    always = replace(OWN, pull_policy="Always")
    plain = container(by_kind(simulated_objects.servers(treatment(), always))["StatefulSet"])
    assert (plain["image"], plain["imagePullPolicy"]) == ("reg/llmatrix:1", "Always")
    other = treatment(image="mine:2")
    told = container(by_kind(simulated_objects.servers(other, always))["StatefulSet"])
    assert (told["image"], told["imagePullPolicy"]) == ("mine:2", "IfNotPresent")
    router = container(by_kind(simulated_objects.router(other, always))["Deployment"])
    assert router["image"] == "reg/llmatrix:1"


def test_the_pickers_configuration_is_a_mounted_file(treatment: Callable[..., Any]) -> None:
    objects = by_kind(simulated_objects.router(treatment(**PICKED), OWN))
    assert objects["ConfigMap"]["data"] == {"picker.yaml": "plugins: []"}
    router = container(objects["Deployment"])
    assert "--config=/etc/llmatrix/picker.yaml" in router["command"]
    assert "/etc/llmatrix" in {mount["mountPath"] for mount in router["volumeMounts"]}
    plain = by_kind(simulated_objects.router(treatment(), OWN))
    assert "ConfigMap" not in plain
    assert "--config=none" in container(plain["Deployment"])["command"]


@pytest.mark.parametrize("address", [OWN, SHARED])
def test_names_are_the_sites_own_and_not_too_long(
    treatment: Callable[..., Any], address: SiteAddress
) -> None:
    wanted = treatment(**PICKED)
    objects = simulated_objects.servers(wanted, address) + simulated_objects.router(wanted, address)
    for each in objects:
        name = each["metadata"]["name"]
        # A StatefulSet's pods carry its name and the hash of its revision in a label.
        assert len(f"{name}-0123456789") <= 63
        assert address.own_namespace or name.startswith(address.name)
    selectors = [each["spec"]["selector"] for each in objects if each["kind"] == "Service"]
    assert selectors[0] != selectors[1]
    assert all(address.name in selector.values() for selector in selectors)


def test_pods_fit_the_restricted_standard(treatment: Callable[..., Any]) -> None:
    """Pod Security Standards, "Restricted", control by control; shown for real in tests/e2e."""
    wanted = treatment(**PICKED)
    for workload in (
        by_kind(simulated_objects.servers(wanted, OWN))["StatefulSet"],
        by_kind(simulated_objects.router(wanted, OWN))["Deployment"],
    ):
        spec = workload["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        allowed = {"emptyDir", "configMap"}
        assert all(set(volume) - {"name"} <= allowed for volume in spec["volumes"])
        security = container(workload)["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_stack_has_one_version_wherever_it_stands() -> None:
    for kind in registry.KINDS["kubernetes"]:
        places = [on for on, kinds in registry.KINDS.items() if kind in kinds]
        assert {registry.stack(kind, on=on).version for on in places} == {
            registry.anywhere(kind).version
        }
        assert registry.stack(kind, on="kubernetes").kind == kind
    with pytest.raises(KeyError):
        registry.stack("process", on="kubernetes")
