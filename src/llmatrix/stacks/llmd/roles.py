"""What makes pods of the server layer more than one vLLM: roles, and servers of several nodes.

Labels, ports and the sidecar's options are those of llm-d's guides (``guides/pd-disaggregation``,
``guides/recipes``, llm-d v0.8); options of several nodes those of vLLM ("Parallelism and scaling",
"Data parallel deployment"), with the variables that LeaderWorkerSet gives every pod of a group.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Final, Literal

from llmatrix.cluster.kinds import LEADER_WORKER_SET, Object
from llmatrix.spec.llmd import LlmdServer, LlmdStack, Plain
from llmatrix.stacks.llmd import names
from llmatrix.stacks.site_address import SiteAddress

Role = Literal["", "decode", "prefill"]
"""What servers do; "" is both."""

ENGINE_PORT: Final = 8200
"""Where a server listens that has the sidecar before it."""
_LABEL: Final = "llm-d.ai/role"
_RPC_PORT: Final = 13345
_KV_TRANSFER: Final = json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both"})
_RANKED: Final = 'exec "$@" --data-parallel-start-rank="$((LWS_WORKER_INDEX * LLMATRIX_SETS))"'
"""A worker's first set of weights; the shell only counts, and its words are arguments."""


def of(server: LlmdServer) -> list[Role]:
    """Give the roles of a stack's servers."""
    return ["decode", "prefill"] if server.prefill is not None else [""]


def as_role(stack: LlmdStack, role: Role) -> LlmdStack:
    """Give the stack as the servers of one role see it: what they are told is ``server``."""
    server, prefill = stack.server, stack.server.prefill
    if role != "prefill" or prefill is None:
        return stack
    alone = server.model_copy(
        update={
            "replicas": prefill.replicas,
            "tensor_parallel": prefill.tensor_parallel,
            "pipeline_parallel": 1,
            "data_parallel": prefill.data_parallel,
            "args": {**server.args, **prefill.args},
            "env": {**server.env, **prefill.env},
            "resources": {**server.resources, **prefill.resources},
            "node_selector": {**server.node_selector, **prefill.node_selector},
        }
    )
    return stack.model_copy(update={"server": alone})


def name(role: Role, address: SiteAddress) -> str:
    """Name what makes the pods of a role."""
    return names.prefill(address) if role == "prefill" else names.server(address)


def marks(role: Role, address: SiteAddress) -> dict[str, str]:
    """Give the labels of the pods of a role."""
    return names.serving(address) | ({_LABEL: role} if role else {})


def prefills(pod: str, address: SiteAddress) -> bool:
    """Tell whether a pod of the layer, by its name, only prefills."""
    return pod.startswith(f"{names.prefill(address)}-")


def answers(server: LlmdServer, pod: str, address: SiteAddress) -> bool:
    """Tell whether a pod of the layer, by its name, listens: of several nodes only the first."""
    return server.nodes == 1 or bool(re.fullmatch(rf"{re.escape(names.server(address))}-\d+", pod))


def options(server: LlmdServer, role: Role) -> dict[str, Plain]:
    """Give vLLM's options for a role and for parallelism beyond tensors."""
    given: dict[str, Plain] = {}
    if server.pipeline_parallel > 1:
        given["pipeline-parallel-size"] = server.pipeline_parallel
    if server.data_parallel > 1:
        given["data-parallel-size"] = server.data_parallel
    if role:
        given["kv-transfer-config"] = _KV_TRANSFER
    if server.nodes > 1 and server.data_parallel > 1:
        given |= {
            "data-parallel-size-local": server.data_parallel // server.nodes,
            "data-parallel-address": "$(LWS_LEADER_ADDRESS)",
            "data-parallel-rpc-port": _RPC_PORT,
        }
    elif server.nodes > 1:
        given |= {
            "distributed-executor-backend": "mp",
            "nnodes": "$(LWS_GROUP_SIZE)",
            "node-rank": "$(LWS_WORKER_INDEX)",
            "master-addr": "$(LWS_LEADER_ADDRESS)",
        }
    return given


def port(role: Role) -> int:
    """Give where the engine itself listens."""
    return ENGINE_PORT if role == "decode" else names.SERVER_PORT


def with_role(spec: Object, stack: LlmdStack, role: Role) -> Object:
    """Give a pod of vLLM what its role needs: where KV entries are fetched, and the sidecar."""
    if not role:
        return spec
    (container,) = spec["containers"]
    own = {"fieldRef": {"fieldPath": "status.podIP"}}
    container["env"] = [{"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": own},
                        *container["env"]]  # fmt: skip
    if role == "decode":
        container["ports"] = [{"name": "engine", "containerPort": ENGINE_PORT}]
        container["readinessProbe"]["httpGet"]["port"] = ENGINE_PORT
        spec["initContainers"] = [_sidecar(stack, container["readinessProbe"])]
    return spec


def _sidecar(stack: LlmdStack, probe: Object) -> Object:
    """Give the sidecar: it is ready once the server behind it answers."""
    layer = stack.server.sidecar
    given: Mapping[str, Plain] = {
        "port": names.SERVER_PORT,
        "model-server-port": ENGINE_PORT,
        "kv-connector": "nixlv2",
        "secure-proxy": False,
        **layer.args,
    }
    written = {n: str(v).lower() if isinstance(v, bool) else v for n, v in given.items()}
    return {
        "name": "sidecar",
        "image": layer.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": [f"--{flag}={value}" for flag, value in written.items()],
        "ports": [{"name": "http", "containerPort": names.SERVER_PORT}],
        "readinessProbe": probe | {"httpGet": {"path": "/health", "port": names.SERVER_PORT}},
        "resources": {"requests": dict(layer.resources)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def group(name_: str, labels: Mapping[str, str], spec: Object, server: LlmdServer) -> Object:
    """Give a LeaderWorkerSet of servers of several nodes: the first of each group answers."""
    leader = {"metadata": {"labels": dict(labels)}, "spec": spec}
    return {
        "apiVersion": LEADER_WORKER_SET.api_version,
        "kind": LEADER_WORKER_SET.name,
        "metadata": {"name": name_},
        "spec": {
            "replicas": server.replicas,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {
                "size": server.nodes,
                # A group that is made anew hides why a pod of it ended.
                "restartPolicy": "None",
                "leaderTemplate": leader,
                "workerTemplate": {"metadata": {}, "spec": _worker(spec, server)},
            },
        },
    }


def _worker(spec: Object, server: LlmdServer) -> Object:
    """Give the pod of a further node: it has no port, and is ready when it runs."""
    worker = copy.deepcopy(spec)
    (container,) = worker["containers"]
    del container["readinessProbe"], container["ports"]
    container["command"].append("--headless")
    local = server.data_parallel // server.nodes
    if server.data_parallel > 1 and local == 1:
        container["command"].append("--data-parallel-start-rank=$(LWS_WORKER_INDEX)")
    elif server.data_parallel > 1:
        container["env"].append({"name": "LLMATRIX_SETS", "value": str(local)})
        container["command"] = ["sh", "-c", _RANKED, "sh", *container["command"]]
    return worker
