"""The server layer: pods of vLLM, of llama.cpp's server, or of our simulated server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmatrix.cluster.kinds import Object
from llmatrix.spec.experiment import Treatment
from llmatrix.spec.llmd import LlmdStack, Plain
from llmatrix.stacks import kubernetes_parts, simulated_options
from llmatrix.stacks.llmd import model_files, names, pods, roles
from llmatrix.stacks.llmd.checks import section
from llmatrix.stacks.llmd.roles import Role
from llmatrix.stacks.site_address import SiteAddress

_SMALL: Final = {"cpu": "50m", "memory": "64Mi"}
"""What a simulated server asks for; it takes more where there is more."""
_HOST: Final = "0.0.0.0"  # noqa: S104 - of its pod


def objects(treatment: Treatment, address: SiteAddress) -> list[Object]:
    """Give the servers, and the Service of all of them."""
    stack, model = section(treatment), treatment.model.name
    made = [
        kubernetes_parts.service(names.server(address), names.serving(address), names.SERVER_PORT)
    ]
    for role in roles.of(stack.server):
        told = roles.as_role(stack, role)
        name, mark = roles.name(role, address), roles.marks(role, address)
        spec = _pod(model, told, address, role)
        if told.server.nodes > 1:
            made.append(roles.group(name, mark, spec, told.server))
        else:
            made.append(pods.deployment(name, mark, spec, replicas=told.server.replicas))
    return made


def _pod(model: str, stack: LlmdStack, address: SiteAddress, role: Role) -> Object:
    server = stack.server
    if server.simulated:
        spec = kubernetes_parts.pod([_simulated(model, stack, address, role)])
    else:
        spec = roles.with_role(_real(model, stack, address, role), stack, role)
    if server.node_selector:
        spec["nodeSelector"] = dict(server.node_selector)
    if server.tolerations:
        spec["tolerations"] = [each.model_dump(exclude_none=True) for each in server.tolerations]
    return spec


def _simulated(model: str, stack: LlmdStack, address: SiteAddress, role: Role) -> Object:
    """Give a simulated server; one that decodes does the sidecar's work itself."""
    server = stack.server
    place = {
        "tensor-parallel-size": server.tensor_parallel,
        "replicas": 1,
        "host": _HOST,
        "port": names.SERVER_PORT,
        "role": role or None,
    }
    options = simulated_options.serving(model, stack.accelerator, server.engine, place)
    return kubernetes_parts.container(
        "server",
        ["python", *options],
        image=server.image or address.image,
        pull_policy="IfNotPresent" if server.image else address.pull_policy,
        port=names.SERVER_PORT,
        requests=_SMALL | server.resources,
        more={"env": _environment(server.env)} if server.env else None,
    )


def _real(model: str, stack: LlmdStack, address: SiteAddress, role: Role) -> Object:
    """Give the pod of an engine, as its image's own user: images of engines are root's."""
    server = stack.server
    volumes, mounts = model_files.mounted(model, stack.model, address)
    container = kubernetes_parts.container(
        "server",
        [],
        image=server.image or "",
        pull_policy="IfNotPresent",
        port=names.SERVER_PORT,
        requests=server.resources,
    )
    del container["securityContext"], container["command"]
    vllm = server.preset == "vllm"
    container |= _vllm(model, stack, role) if vllm else _llama_cpp(model, stack)
    # Parallel ranks of one server speak by shared memory; the runtime's own 64 MiB are too few.
    shared = {"name": "shm", "emptyDir": {"medium": "Memory"}}
    container["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}, *mounts]  # noqa: S108
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # their variables begin with SERVER_ and VLLM_ at the worst
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
        "volumes": [shared, *volumes],
    }


def _vllm(model: str, stack: LlmdStack, role: Role) -> Object:
    server = stack.server
    options: dict[str, Plain] = {
        "served-model-name": model,
        "host": _HOST,
        "port": roles.port(role),
        "tensor-parallel-size": server.tensor_parallel,
        **roles.options(server, role),
        **server.args,
    }
    accelerators = {names.resource(stack.accelerator): str(server.each // server.nodes)}
    return {
        "command": [
            "vllm",
            "serve",
            model_files.path(model, stack.model) or model,
            *_options(options),
        ],
        # Without it the prefix cache cannot be dropped between trials.
        "env": _environment({"VLLM_SERVER_DEV_MODE": "1", **server.env}),
        "resources": {"requests": server.resources | accelerators, "limits": accelerators},
    }


def _llama_cpp(model: str, stack: LlmdStack) -> Object:
    server = stack.server
    options: dict[str, Plain] = {
        "alias": model,
        "host": _HOST,
        "port": names.SERVER_PORT,
        "metrics": True,
        **({"model": path} if (path := model_files.path(model, stack.model)) else {}),
        **server.args,
    }
    told: Object = {"args": [word for each in _options(options) for word in each.split("=", 1)]}
    return told | ({"env": _environment(server.env)} if server.env else {})


def _options(options: Mapping[str, Plain]) -> list[str]:
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if value is not False
    ]


def _environment(env: Mapping[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in env.items()]
