"""The stack of kind llm-d: gateway, endpoint picker, model files and model servers, as pods.

Each layer is a section of its own, and a step's key hashes exactly that section: a level of the
picker's configuration restarts the picker only, one of the servers' flags the servers only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from llmatrix.spec.base import NamedFile, Section
from llmatrix.spec.charts import Brought, Fronted
from llmatrix.spec.llmd_capacity import LlmdCapacity
from llmatrix.spec.llmd_model import LlmdModel
from llmatrix.spec.stack_parts import ENV_NAME, IMAGE, IN_ORDER, Layer, SimulatedEngine
from llmatrix.spec.units import PositiveDuration

QUANTITY = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i?|m|k)?$"
RESOURCE = r"^[a-z0-9A-Z]([-a-zA-Z0-9._/]{0,252}[a-zA-Z0-9])?$"
FLAG = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
LABEL_KEY = r"^[A-Za-z0-9]([-A-Za-z0-9._/]{0,315}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?)?$"
NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
ENVOY: Final = "docker.io/envoyproxy/envoy:v1.36.2"
SIDECAR: Final = "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.10.0"
PICKER: Final = "registry.k8s.io/gateway-api-inference-extension/epp:v1.2.0"

Flag = Annotated[str, Field(pattern=FLAG)]
LabelKey = Annotated[str, Field(pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE)]
Plain = str | int | float | bool
Resources = Annotated[
    dict[
        Annotated[str, Field(pattern=RESOURCE)],
        Annotated[str, Field(pattern=QUANTITY)],
    ],
    IN_ORDER,
]


class Proxy(Section):
    """The Envoy that stands before the picker."""

    image: Annotated[str, Field(pattern=IMAGE)] = ENVOY
    """Image with `envoy` on its path."""
    resources: Resources = {}
    """What it asks for, by resource: `{cpu: "2", memory: 1Gi}`."""


class LlmdGateway(Fronted):
    """What requests are sent to."""

    PRESET: ClassVar[frozenset[str]] = frozenset(
        {"proxy", "class_name", "support", "listener_port", "labels", "annotations"}
    )

    mode: Literal["none", "standalone", "gateway"] = "standalone"
    """`standalone`: an Envoy that asks the picker; `gateway`: a Gateway of a class that the cluster
    offers; `none`: the servers' Service, no picker."""
    proxy: Proxy = Proxy()
    """The Envoy of `standalone`."""
    class_name: Annotated[str, Field(pattern=NAME)] | None = None
    """Name of the GatewayClass; needed with `gateway`, which the other fields are for, too."""
    support: Literal["inference-pool", "istio", "gke", "envoy-gateway"] = "inference-pool"
    """How its requests come to the picker: by the InferencePool, or with what that class needs."""
    listener_port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Where the Gateway listens."""
    labels: Annotated[dict[LabelKey, LabelValue], IN_ORDER] = {}
    """More labels of the Gateway and of what its controller makes for it."""
    annotations: Annotated[dict[LabelKey, str], IN_ORDER] = {}
    """Annotations of the Gateway and of what its controller makes for it."""
    startup: PositiveDuration = 300.0
    """Seconds until the Gateway must be programmed, its address assigned."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.mode == "gateway" and self.class_name is None:
            raise ValueError("mode: gateway needs class_name, a GatewayClass of the cluster")
        return self


class LlmdRouter(Fronted):
    """The endpoint picker of the Gateway API Inference Extension."""

    PRESET: ClassVar[frozenset[str]] = frozenset({"config", "image", "flags", "resources"})

    preset: Literal["gaie"] = "gaie"
    """How the picker is deployed."""
    config: NamedFile | None = None
    """An EndpointPickerConfig file, or the document itself; needed unless the gateway is none."""
    image: Annotated[str, Field(pattern=IMAGE)] = PICKER
    """Image of the picker."""
    metrics: Literal["vllm", "llama-cpp", "configured"] | None = None
    """Whose metric names its flags give it, to read the servers' load by; simulated servers have
    vLLM's. `configured`: it gets no such flags, for it knows the names by its configuration (GAIE
    from 1.4 on, llm-d from 0.7 on). None: `configured` where the configuration is of the group
    `llm-d.ai`, else `vllm`."""
    flags: Annotated[dict[Flag, Plain], IN_ORDER] = {}
    """More flags of the picker, by name: `{refresh-metrics-interval: 20ms}`."""
    plugins: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Plugin types that this image knows beside those that llmatrix knows."""
    resources: Resources = {}
    """What it asks for, by resource."""


class Toleration(Section):
    """A taint of nodes that the servers' pods put up with, as Kubernetes writes it."""

    key: Annotated[str, Field(pattern=LABEL_KEY)]
    """Of the taint."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Equal` compares the value, too."""
    value: Annotated[str, Field(pattern=LABEL_VALUE)] | None = None
    """Of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Of the taint; none: any."""


class LlmdPrefill(Section):
    """Servers that prefill only; what is not said here is as for those that decode."""

    replicas: Annotated[PositiveInt, Field(le=256)] = 1
    """Servers that prefill."""
    tensor_parallel: PositiveInt = 1
    """Accelerators that share one set of weights of such a server."""
    data_parallel: PositiveInt = 1
    """Sets of weights of such a server."""
    args: Annotated[dict[Flag, Plain], IN_ORDER] = {}
    """Options of the engine, over those of `server.args`."""
    env: Annotated[dict[Annotated[str, Field(pattern=ENV_NAME)], str], IN_ORDER] = {}
    """Environment of the engine, over that of `server.env`."""
    resources: Resources = {}
    """What each asks for beside its accelerators, over `server.resources`."""
    node_selector: Annotated[
        dict[
            Annotated[str, Field(pattern=LABEL_KEY)],
            Annotated[str, Field(pattern=LABEL_VALUE)],
        ],
        IN_ORDER,
    ] = {}
    """Labels of the nodes that they may run on, over `server.node_selector`."""


class Sidecar(Section):
    """llm-d's routing sidecar: it has a prompt prefilled elsewhere before its server decodes."""

    image: Annotated[str, Field(pattern=IMAGE)] = SIDECAR
    """Image of the sidecar."""
    args: Annotated[dict[Flag, Plain], IN_ORDER] = {}
    """Options of it, by name, over ours: `{kv-connector: nixlv2}`."""
    resources: Resources = {}
    """What it asks for, by resource."""


class LlmdServer(Brought):
    """The model servers."""

    PRESET: ClassVar[frozenset[str]] = frozenset(
        {"image", "replicas", "tensor_parallel", "args", "env", "resources", "node_selector"}
        | {"tolerations", "simulated", "engine", "pipeline_parallel", "data_parallel", "nodes"}
        | {"prefill", "sidecar"}
    )

    preset: Literal["vllm", "llama-cpp"] = "vllm"
    """Which engine: `vllm serve` on accelerators, or llama.cpp's server on CPUs."""
    image: Annotated[str, Field(pattern=IMAGE)] | None = None
    """Image of the engine; needed unless simulated, then default: that of the steps."""
    replicas: Annotated[PositiveInt, Field(le=256)] = 1
    """Servers."""
    tensor_parallel: PositiveInt = 1
    """Accelerators that share each layer of one set of weights."""
    pipeline_parallel: PositiveInt = 1
    """Parts that the layers of one set of weights are cut into."""
    data_parallel: PositiveInt = 1
    """Sets of weights in one server."""
    nodes: Annotated[PositiveInt, Field(le=64)] = 1
    """Pods that make one server, each on a node; above 1 by a LeaderWorkerSet."""
    prefill: LlmdPrefill | None = None
    """Servers that prefill only; the others then decode."""
    sidecar: Sidecar = Sidecar()
    """What stands before a server that decodes."""
    args: Annotated[dict[Flag, Plain], IN_ORDER] = {}
    """Options of the engine, by name: `{max-num-seqs: 64}`; true is a flag, false its absence."""
    env: Annotated[dict[Annotated[str, Field(pattern=ENV_NAME)], str], IN_ORDER] = {}
    """Environment of the engine; it is in the pod's spec, so no place for a secret."""
    resources: Resources = {}
    """What each asks for beside its accelerators, by resource."""
    node_selector: Annotated[
        dict[
            Annotated[str, Field(pattern=LABEL_KEY)],
            Annotated[str, Field(pattern=LABEL_VALUE)],
        ],
        IN_ORDER,
    ] = {}
    """Labels of the nodes that they may run on."""
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)] = ()
    """Taints of nodes that they put up with."""
    startup: PositiveDuration = 600.0
    """Seconds until they must be ready, image pulled and weights loaded."""
    simulated: bool = False
    """Run our simulated server instead, on no accelerator; everything around it is real."""
    engine: SimulatedEngine = SimulatedEngine()
    """Knobs of a simulated server."""
    capacity: LlmdCapacity = LlmdCapacity()
    """What the plan judges by whether model and cache fit, where no preset tells."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.image is None and not (self.simulated or self.brought):
            raise ValueError(
                f"needs image: that of {self.preset}, with a version; or write simulated: true"
            )
        if self.simulated and self.preset != "vllm":
            raise ValueError("simulated: true simulates vLLM; leave preset out")
        if self.simulated and self.args:
            raise ValueError("a simulated server has no args; its knobs are under engine")
        if not self.simulated and self.engine != SimulatedEngine():
            raise ValueError("engine has the knobs of a simulated server; write args")
        return self

    @model_validator(mode="after")
    def _counted(self) -> Self:
        over = [self.args, self.prefill.args if self.prefill else {}]
        for name in ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"):
            if any(name in args for args in over):
                field = name.removesuffix("-size").replace("-", "_")
                raise ValueError(f"args must not have {name}: write {field}, which is counted")
        return self

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        many = self.pipeline_parallel * self.data_parallel * self.nodes > 1
        if self.preset == "llama-cpp":
            if self.tensor_parallel > 1:
                raise ValueError("llama-cpp runs on CPUs here: tensor_parallel must be 1")
            if many or self.prefill is not None:
                raise ValueError("llama-cpp is one process here: no parallelism, no prefill")
        if self.simulated:
            if many:
                raise ValueError(
                    "a simulated server is one set of weights in one pod: of parallelism, it has "
                    "tensor_parallel only"
                )
            prefill, plain = self.prefill or LlmdPrefill(), LlmdPrefill()
            for name in ("args", "data_parallel"):
                if getattr(prefill, name) != getattr(plain, name):
                    raise ValueError(f"a simulated server has no {name}; leave it out of prefill")
        return self

    @model_validator(mode="after")
    def _spread(self) -> Self:
        if self.nodes == 1:
            return self
        if self.prefill is not None:
            raise ValueError("servers of several nodes cannot have prefill here: set nodes: 1")
        if self.each % self.nodes:
            raise ValueError(
                f"{self.each} accelerators are no whole number on each of {self.nodes} nodes"
            )
        if self.data_parallel > 1 and self.data_parallel % self.nodes:
            raise ValueError("data_parallel must be a multiple of nodes, so that a set is on one")
        return self

    @property
    def each(self) -> int:
        """Accelerators of one server."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


class LlmdStack(Section):
    """A picker of the GAIE family before model servers on Kubernetes."""

    LAYERS: ClassVar[Mapping[Layer, frozenset[str]]] = {
        "namespace": frozenset(),
        "gateway": frozenset({"gateway"}),
        "router": frozenset({"router"}),
        "model": frozenset({"model"}),
        "server": frozenset({"server", "accelerator"}),
    }

    kind: Literal["llm-d"]
    accelerator: str = "H100"
    """Which accelerator the servers have; a simulated server behaves as if it had it."""
    gateway: LlmdGateway = LlmdGateway()
    """What requests are sent to."""
    router: LlmdRouter = LlmdRouter()
    """The endpoint picker."""
    model: LlmdModel = LlmdModel()
    """Where the servers find the model's files."""
    server: LlmdServer
    """The model servers."""

    @property
    def accelerators(self) -> int:
        """Accelerators that one deployment holds (simulated ones count like real ones)."""
        if self.server.rendered is not None:
            return self.server.rendered.accelerators
        return sum(pods * each for pods, each in self.pods)

    @property
    def pods(self) -> tuple[tuple[int, int], ...]:
        """Pods of servers and the accelerators of each, by role: decode first, then prefill."""
        server, prefill = self.server, self.server.prefill
        if server.brought:
            return ()  # what a chart makes is counted when it is rendered
        if server.preset == "llama-cpp":
            return ((server.replicas, 0),)
        found = [(server.replicas * server.nodes, server.each // server.nodes)]
        if prefill is not None:
            found.append((prefill.replicas, prefill.tensor_parallel * prefill.data_parallel))
        return tuple(found)
