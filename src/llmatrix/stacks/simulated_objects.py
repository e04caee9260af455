"""The Kubernetes objects of a simulated stack: pure, from a treatment and a site's address."""

from __future__ import annotations

from typing import Final

from llmatrix.cluster import labels
from llmatrix.cluster.kinds import DEPLOYMENT, STATEFUL_SET, Object
from llmatrix.plan.step import Step
from llmatrix.sim.filtering import ROLE
from llmatrix.spec.experiment import Treatment
from llmatrix.stacks import kubernetes_parts, simulated_options
from llmatrix.stacks.simulated_options import Role
from llmatrix.stacks.site_address import SiteAddress

SERVER_PORT: Final = 8000
ROUTER_PORT: Final = 8080
_SMALL: Final = {"cpu": "50m", "memory": "64Mi"}
"""What a simulated program asks for; it takes more where there is more. What it asks for is also
its weight among the pods of a busy node, and a simulator that must wait is late."""
_POD: Final = "LLMATRIX_POD"
_POD_NAME: Final[Object] = {
    "name": _POD,
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
}
_CONFIG_FOLDER: Final = "/etc/llmatrix"
_CONFIG_FILE: Final = "picker.yaml"


def servers(treatment: Treatment, address: SiteAddress, *, seed: int = 0) -> list[Object]:
    """Give the servers: a pod for each replica, and the service that names them.

    ``seed`` is of their jitter; 0 where they are only shown.
    """
    stack = simulated_options.section(treatment)
    roles: dict[Role, int] = {"": stack.replicas}
    if stack.prefill is not None:
        roles = {"decode": stack.replicas, "prefill": stack.prefill.replicas}
    made = (_role(treatment, address, role, count, seed) for role, count in roles.items())
    return [each for objects in made for each in objects]


def prefills(pod: str, address: SiteAddress) -> bool:
    """Tell whether a server's pod, by its name, only prefills."""
    return pod.startswith(f"{_name('prefill', address)}-")


def _role(
    treatment: Treatment, address: SiteAddress, role: Role, replicas: int, seed: int
) -> list[Object]:
    """Give the servers of one role."""
    stack = simulated_options.section(treatment)
    name, mark = _name(role, address), _selector(address, Step.SERVER)
    # The pods of a site are told apart by step; those of two StatefulSets of one, by role.
    mark |= {ROLE: role} if role else {}
    place = {"host": "0.0.0.0", "port": SERVER_PORT}  # noqa: S104 - of its pod
    command = simulated_options.serve_one(treatment, place, role, name=f"$({_POD})", seed=seed)
    numbered = any(option.startswith("--first-replica=") for option in command)
    container = kubernetes_parts.container(
        "server",
        ["python", *command],
        image=stack.image or address.image,
        pull_policy="IfNotPresent" if stack.image else address.pull_policy,
        port=SERVER_PORT,
        requests=_SMALL,
        more={"env": [_POD_NAME]} if numbered else None,
    )
    return [
        kubernetes_parts.service(name, mark, SERVER_PORT, headless=True),
        {
            "apiVersion": STATEFUL_SET.api_version,
            "kind": STATEFUL_SET.name,
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "replicas": replicas,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": mark},
                "template": {
                    "metadata": {"labels": mark},
                    "spec": kubernetes_parts.pod([container]),
                },
            },
        },
    ]


def router(treatment: Treatment, address: SiteAddress) -> list[Object]:
    """Give the router: its configuration, its pod and the service that requests go to."""
    config = simulated_options.section(treatment).router.config
    name, mark = address.object_name("router"), _selector(address, Step.ROUTER)
    place = {"host": "0.0.0.0", "port": ROUTER_PORT}  # noqa: S104 - of its pod
    file = None if config is None else f"{_CONFIG_FOLDER}/{_CONFIG_FILE}"
    mounted = config is not None
    container = kubernetes_parts.container(
        "router",
        ["python", *simulated_options.route(file, place)],
        image=address.image,
        pull_policy=address.pull_policy,
        port=ROUTER_PORT,
        requests=_SMALL,
        mounts=[{"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True}] * mounted,
    )
    volumes = [{"name": "config", "configMap": {"name": name}}] * mounted
    configs = [] if config is None else [_config_map(name, config.text)]
    return [
        *configs,
        kubernetes_parts.service(name, mark, ROUTER_PORT),
        {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.name,
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": mark},
                "template": {
                    "metadata": {"labels": mark},
                    "spec": kubernetes_parts.pod([container], volumes=volumes),
                },
            },
        },
    ]


def _name(role: Role, address: SiteAddress) -> str:
    return address.object_name("prefill" if role == "prefill" else "server")


def _selector(address: SiteAddress, step: Step) -> dict[str, str]:
    return {labels.SITE: address.name, labels.STEP: step.value}


def _config_map(name: str, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {_CONFIG_FILE: text},
    }
