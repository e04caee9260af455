"""The objects of a simulated stack: told the same as on this machine, fit for any namespace."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from llmatrix.cluster.kinds import Object
from llmatrix.plan.trial import Trial
from llmatrix.sim.membership import Membership
from llmatrix.stacks import (
    registry,
    simulated,
    simulated_objects,
    simulated_options,
    simulated_pods,
    simulated_serving,
)
from llmatrix.stacks.http import answers, ask
from llmatrix.stacks.site_address import SiteAddress
from llmatrix.stacks.site_state import SiteState, Stood
from llmatrix.stacks.waiting import until
from stacks.addresses import OWN, SHARED

Make = Callable[..., Trial]
PICKED = {"router": {"config": {"text": "plugins: []", "name": "r.yaml"}}}


def by_kind(objects: list[Object]) -> dict[str, Object]:
    return {each["kind"]: each for each in objects}


def stateful_sets(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "StatefulSet"}


def container(workload: Object) -> Object:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.fixture
def trial(make_trial: Make) -> Make:
    def make(**more: Any) -> Trial:
        return make_trial({"kind": "simulated", "replicas": 3, **more}, key="abc123")

    return make


@pytest.fixture
def treatment(trial: Make) -> Callable[..., Any]:
    return lambda **more: trial(**more).treatment


def test_each_replica_is_a_pod_told_what_a_process_here_is_told(
    trial: Make, treatment: Callable[..., Any]
) -> None:
    engine = {"max_num_seqs": 8, "startup": 1.5, "enable_prefix_caching": False}
    wanted = treatment(engine=engine, tensor_parallel=2)
    stateful = by_kind(simulated_objects.servers(wanted, OWN))["StatefulSet"]
    assert stateful["spec"]["replicas"] == 3
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"
    same = trial(engine=engine, tensor_parallel=2)
    here = set(simulated._server_command(same, Path("/x"))[1:])
    there = set(container(stateful)["command"][1:])
    placed = {"--replicas", "--host", "--port", "--announce"}
    differs = {option.partition("=")[0] for option in here ^ there}
    assert differs == placed
    assert {"--replicas=1", "--host=0.0.0.0", "--port=8000"} <= there
    assert "--no-enable-prefix-caching" in there


ROLES = {"router": {"config": {"text": "unread"}}, "prefill": {"replicas": 2}}
FAULTS = [
    {"kind": "slow", "replica": 2, "factor": 3},
    {"kind": "stall", "role": "prefill", "replica": 1, "at": "10s", "duration": "5s"},
]


def test_servers_of_each_role_are_a_stateful_set_with_pods_of_its_own(
    treatment: Callable[..., Any],
) -> None:
    objects = simulated_objects.servers(treatment(**ROLES), OWN)
    sets = stateful_sets(objects)
    assert {name: each["spec"]["replicas"] for name, each in sets.items()} == {
        "server": 3,
        "prefill": 2,
    }
    for name, each in sets.items():
        role = "prefill" if name == "prefill" else "decode"
        command = container(each)["command"]
        assert {f"--role={role}", "--replicas=1"} <= set(command)
        assert not any(word.startswith(("--fault", "--jitter", "--first")) for word in command)
        assert each["spec"]["selector"]["matchLabels"].items() <= (
            each["spec"]["template"]["metadata"]["labels"].items()
        )
    one, other = (each["spec"]["selector"]["matchLabels"] for each in sets.values())
    assert one != other, "each would take the other's pods for its own"
    assert simulated_objects.prefills("prefill-0", OWN)
    assert not simulated_objects.prefills("server-0", OWN)
    assert simulated_objects.prefills(f"{SHARED.object_name('prefill')}-1", SHARED)


def test_each_pod_learns_which_replica_it_is_and_what_goes_wrong_with_its_role(
    treatment: Callable[..., Any],
) -> None:
    wanted = treatment(**ROLES, faults=FAULTS, jitter=0.1)
    sets = stateful_sets(simulated_objects.servers(wanted, OWN, seed=41))
    decode, prefill = container(sets["server"]), container(sets["prefill"])
    for each in (decode, prefill):
        (variable,) = each["env"]
        assert f"--first-replica=$({variable['name']})" in each["command"]
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        assert {"--jitter=0.1", "--faults-when-told"} <= set(each["command"])
    assert [word for word in decode["command"] if word.startswith("--fault=")] == [
        "--fault=slow replica=2 at=0.0 factor=3.0"
    ]
    assert [word for word in prefill["command"] if word.startswith("--fault=")] == [
        "--fault=stall replica=1 at=10.0 for=5.0"
    ]
    assert "--seed=41" in decode["command"]
    assert "--seed=42" in prefill["command"], "else both roles would draw the same"


@contextmanager
def as_pods(treatment: Any, port: int) -> Iterator[SiteState]:
    """Run the pods' command lines here, each at an address of its own; give the site's record."""
    stood: dict[str, Any] = {}
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for name, each in stateful_sets(simulated_objects.servers(treatment, OWN)).items():
            for number in range(each["spec"]["replicas"]):
                pod, ip = f"{name}-{number}", f"127.0.7.{len(stood) + 1}"
                stood[pod] = asdict(Stood("uid", 0, ip))
                # What the kubelet does to a command, and the network to an address.
                command = [
                    word.replace("$(LLMATRIX_POD)", pod)
                    .replace("--host=0.0.0.0", f"--host={ip}")
                    .replace("--port=8000", f"--port={port}")
                    for word in container(each)["command"]
                ]
                programs.append(subprocess.Popen([sys.executable, *command[1:]]))
        yield SiteState({"standing.server": json.dumps(stood)})
    finally:
        for program in programs:
            program.kill()
            program.wait()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="takes addresses of 127.0.0.0/8")
def test_pods_of_both_roles_serve_together_and_go_wrong_as_asked(
    make_trial: Make, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cluster: the pods' very command lines, and the very requests to them."""
    with socket.socket() as probe:
        probe.bind(("127.0.7.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(simulated_pods, "SERVER_PORT", port)
    crash = {"kind": "crash", "replica": 1, "at": "1s"}
    split = (Path(__file__).parents[2] / "examples/router/prefill-decode.yaml").read_text()
    trial = make_trial(
        {
            "kind": "simulated",
            "replicas": 2,
            "prefill": {"replicas": 1},
            "router": {"config": {"text": split}},
            "faults": [crash],
        }
    )
    config, announced = site.folder / "picker.yaml", site.folder / "told.json"
    config.write_text(split)
    place = {"host": "127.0.0.1", "port": 0, "announce": announced}
    command = simulated_options.route(str(config), place)
    router_program = subprocess.Popen([sys.executable, *command])
    try:
        with as_pods(trial.treatment, port) as state:
            assert until(announced.is_file, 20)
            router = json.loads(announced.read_text())["router"]
            servers = simulated_pods._servers(state, OWN)
            prefills = simulated_pods._prefills(state, OWN)
            assert len(servers.urls) == 3
            assert {servers.labels[url]["llm-d.ai/role"] for url in prefills} == {"prefill"}
            assert len(prefills) == 1
            assert until(lambda: all(answers(f"{url}/health") for url in servers.urls), 20)
            assert not simulated_pods._knows(router, servers)
            assert simulated_pods._introduced(router, servers)
            assert simulated_pods._knows(router, servers)
            unlabelled = Membership(servers.urls)
            assert not simulated_pods._knows(router, unlabelled), "roles belong to what is known"

            model = trial.treatment.model.name
            body = {"model": model, "prompt": list(range(64)), "max_tokens": 3}
            answer = ask("POST", f"{router}/v1/completions", timeout_s=30, document=body)
            assert answer.status == 200
            served = ask("GET", f"{prefills[0]}/metrics").body.decode()
            assert re.search(r"^vllm:generation_tokens_total\{.*\} 1(\.0)?$", served, re.MULTILINE)

            time.sleep(1.2)
            assert simulated_serving.crashed(servers.urls) == [], "no trial has begun"
            urls = list(servers.urls)
            found = simulated_serving.cleanse(router, urls, frozenset(), faults=True)
            assert found.clean is True, found.detail
            assert until(lambda: simulated_serving.crashed(urls), 20)
            (told,) = simulated_serving.crashed(urls)
            decode = [url for url in urls if url not in prefills]
            assert decode[1] in told, "of those that decode, the one with number 1"
    finally:
        router_program.kill()
        router_program.wait()


def test_on_this_machine_replicas_that_prefill_come_first(trial: Make) -> None:
    command = simulated._server_command(trial(**ROLES, faults=FAULTS, jitter=0.1), Path("/x"))
    assert {"--replicas=5", "--prefill-replicas=2", "--jitter=0.1"} <= set(command)
    assert [word for word in command if word.startswith("--fault=")] == [
        "--fault=slow replica=4 at=0.0 factor=3.0",
        "--fault=stall replica=1 at=10.0 for=5.0",
    ]


def test_jitter_is_drawn_anew_for_each_deployment_and_only_then(
    make_trial: Make,
) -> None:
    stack = {"kind": "simulated", "jitter": 0.1}
    one, same, other = (make_trial(stack, key=key) for key in ("a", "a", "b"))
    assert simulated_options.seed(one) == simulated_options.seed(same)
    assert simulated_options.seed(one) != simulated_options.seed(other)


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
    wanted = treatment(**PICKED, prefill={"replicas": 1})
    objects = simulated_objects.servers(wanted, address) + simulated_objects.router(wanted, address)
    for each in objects:
        name = each["metadata"]["name"]
        # A StatefulSet's pods carry its name and the hash of its revision in a label.
        assert len(f"{name}-0123456789") <= 63
        assert address.own_namespace or name.startswith(address.name)
    selectors = [each["spec"]["selector"] for each in objects if each["kind"] == "Service"]
    assert all(selectors.count(each) == 1 for each in selectors)
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
